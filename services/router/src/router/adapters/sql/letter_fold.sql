-- Statements of adapters/postgres_letter_fold.py. `-- name:` starts one.

-- Two workers that make the schema at once would trip over each other's rows of the system catalog.
-- name: lock_schema
SELECT pg_advisory_xact_lock(5110015);

-- name: positions
SELECT partition, next_offset, last_ms FROM dead_letters_v2.positions;

-- name: begin
INSERT INTO dead_letters_v2.positions (partition, next_offset, last_ms) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING partition;

-- name: advance
UPDATE dead_letters_v2.positions SET next_offset = $2, last_ms = $3
WHERE partition = $1 AND next_offset = $4 AND last_ms = $5 RETURNING partition;

-- name: add
INSERT INTO dead_letters_v2.letters (
    partition, letter_offset, flow_id, algorithm, version, topic, source_partition, source_offset,
    record_time_ms, record_key, key_hash, value_bytes, failure, reason, error_type, error, attempts,
    first_time, given_up_time, request_id, generation, born_in_task, written_ms, state, task_id
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, 'open', ''
)
ON CONFLICT DO NOTHING;

-- name: mark
UPDATE dead_letters_v2.letters SET state = $3, state_time = $4, task_id = $5
WHERE partition = $1 AND letter_offset = $2 AND state = 'open';

-- name: mark_own
INSERT INTO dead_letters_v2.own_marks (
    flow_id, letter_topic, letter_partition, letter_offset, written_ms, partition, state,
    state_time, task_id
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING;

-- name: forget_position
DELETE FROM dead_letters_v2.positions
WHERE partition = $1 AND next_offset = $2 AND last_ms = $3 RETURNING partition;

-- name: forget_letters
DELETE FROM dead_letters_v2.letters WHERE partition = $1;

-- name: forget_own_marks
DELETE FROM dead_letters_v2.own_marks WHERE partition = $1;

-- name: expire_own_marks
WITH gone AS (
    DELETE FROM dead_letters_v2.own_marks WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM dead_letters_v2.own_marks
        WHERE partition = ANY($1::integer[]) AND state_time < $2 LIMIT $3
    ))
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: expire
WITH old AS (
    SELECT partition, letter_offset FROM dead_letters_v2.letters
    WHERE partition = ANY($1::integer[]) AND written_ms < $2 LIMIT $3
), gone AS (
    DELETE FROM dead_letters_v2.letters AS letters USING old
    WHERE letters.partition = old.partition AND letters.letter_offset = old.letter_offset
    RETURNING 1
)
SELECT count(*) FROM gone;
