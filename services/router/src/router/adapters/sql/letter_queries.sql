-- Statements of adapters/postgres_letter_queries.py. `-- name:` starts one.
-- The first fourteen parameters are a LetterQuery, in each statement that takes one. Each is planned
-- with its values (plan_cache_mode), so that what is not asked for costs nothing.

-- name: page
SELECT
    partition, letter_offset, flow_id, algorithm, version, topic, source_partition, source_offset,
    record_time_ms, record_key, key_hash, value_bytes, failure, reason, error_type, error, attempts,
    first_time, given_up_time, request_id, generation, born_in_task, written_ms, state, state_time,
    task_id
FROM dead_letters_v2.letters
WHERE
    ($1 = '' OR flow_id = $1)
    AND state = ANY($2::text[])
    AND ($3::timestamptz IS NULL OR given_up_time >= $3)
    AND ($4::timestamptz IS NULL OR given_up_time < $4)
    AND ($5::text IS NULL OR failure = $5)
    AND ($6 = '' OR error_type = $6)
    AND ($7::bytea IS NULL OR key_hash = $7)
    AND ($8 = '' OR topic = $8)
    AND ($9::integer[] IS NULL OR source_partition = ANY($9))
    AND ($10::bigint IS NULL OR source_offset BETWEEN $10 AND $11::bigint)
    AND ($12::integer[] IS NULL OR (partition, letter_offset) IN (
        SELECT * FROM unnest($12::integer[], $13::bigint[])
    ))
    AND ($14 = '' OR born_in_task <> $14)
    AND ($15::timestamptz IS NULL OR (given_up_time, partition, letter_offset)
        < ($15, $16::integer, $17::bigint))
ORDER BY given_up_time DESC, partition DESC, letter_offset DESC
LIMIT $18;

-- name: in_order
SELECT
    partition, letter_offset, flow_id, algorithm, version, topic, source_partition, source_offset,
    record_time_ms, record_key, key_hash, value_bytes, failure, reason, error_type, error, attempts,
    first_time, given_up_time, request_id, generation, born_in_task, written_ms, state, state_time,
    task_id
FROM dead_letters_v2.letters
WHERE
    ($1 = '' OR flow_id = $1)
    AND state = ANY($2::text[])
    AND ($3::timestamptz IS NULL OR given_up_time >= $3)
    AND ($4::timestamptz IS NULL OR given_up_time < $4)
    AND ($5::text IS NULL OR failure = $5)
    AND ($6 = '' OR error_type = $6)
    AND ($7::bytea IS NULL OR key_hash = $7)
    AND ($8 = '' OR topic = $8)
    AND ($9::integer[] IS NULL OR source_partition = ANY($9))
    AND ($10::bigint IS NULL OR source_offset BETWEEN $10 AND $11::bigint)
    AND ($12::integer[] IS NULL OR (partition, letter_offset) IN (
        SELECT * FROM unnest($12::integer[], $13::bigint[])
    ))
    AND ($14 = '' OR born_in_task <> $14)
    AND ($15::text IS NULL
        OR (topic, source_partition, source_offset, partition, letter_offset)
        > ($15, $16::integer, $17::bigint, $18::integer, $19::bigint))
ORDER BY topic, source_partition, source_offset, partition, letter_offset
LIMIT $20;

-- name: count
SELECT count(*)
FROM dead_letters_v2.letters
WHERE
    ($1 = '' OR flow_id = $1)
    AND state = ANY($2::text[])
    AND ($3::timestamptz IS NULL OR given_up_time >= $3)
    AND ($4::timestamptz IS NULL OR given_up_time < $4)
    AND ($5::text IS NULL OR failure = $5)
    AND ($6 = '' OR error_type = $6)
    AND ($7::bytea IS NULL OR key_hash = $7)
    AND ($8 = '' OR topic = $8)
    AND ($9::integer[] IS NULL OR source_partition = ANY($9))
    AND ($10::bigint IS NULL OR source_offset BETWEEN $10 AND $11::bigint)
    AND ($12::integer[] IS NULL OR (partition, letter_offset) IN (
        SELECT * FROM unnest($12::integer[], $13::bigint[])
    ))
    AND ($14 = '' OR born_in_task <> $14);

-- name: find
SELECT
    partition, letter_offset, flow_id, algorithm, version, topic, source_partition, source_offset,
    record_time_ms, record_key, key_hash, value_bytes, failure, reason, error_type, error, attempts,
    first_time, given_up_time, request_id, generation, born_in_task, written_ms, state, state_time,
    task_id
FROM dead_letters_v2.letters
WHERE partition = $1 AND letter_offset = $2;

-- name: tally
SELECT state, count(*) AS letters
FROM (
    SELECT state FROM dead_letters_v2.letters WHERE task_id = $1
    UNION ALL
    SELECT state FROM dead_letters_v2.own_marks WHERE task_id = $1
) AS settled
GROUP BY state;

-- name: own_marks
SELECT letter_partition, letter_offset, written_ms, state, state_time, task_id
FROM dead_letters_v2.own_marks
WHERE
    flow_id = $1 AND letter_topic = $2
    AND (letter_partition, letter_offset, written_ms) IN (
        SELECT * FROM unnest($3::integer[], $4::bigint[], $5::bigint[])
    );

-- name: open_letters
SELECT count(*) AS letters, min(given_up_time) AS oldest FROM dead_letters_v2.letters
WHERE state = 'open' AND partition = ANY($1::integer[]);

-- name: open_by_flow
SELECT flow_id, count(*) AS letters FROM dead_letters_v2.letters
WHERE state = 'open' AND partition = ANY($1::integer[])
GROUP BY flow_id ORDER BY letters DESC, flow_id LIMIT $2;
