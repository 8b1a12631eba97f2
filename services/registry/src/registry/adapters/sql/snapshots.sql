-- Statements of adapters/postgres_snapshots.py and adapters/postgres_timeline.py. `-- name:` starts one.

-- name: begin
SELECT log.begin_snapshot($1, $2, $3, $4, $5);

-- name: add_part
SELECT log.add_snapshot_part($1, $2, $3, $4);

-- name: newest
SELECT fold, position, hash, parts, bytes AS size_bytes
FROM log.own_snapshots
WHERE fold = $1 AND position <= $2 ORDER BY position DESC LIMIT 1;

-- name: part
SELECT data FROM log.snapshot_parts WHERE fold = $1 AND position = $2 AND number = $3;

-- name: positions
SELECT position FROM log.own_snapshots WHERE fold = $1 ORDER BY position;

-- name: keep
SELECT log.keep_snapshots($1, $2);

-- name: seal_at
SELECT first_position, last_position, hash, time, clock FROM log.seal_at($1);

-- name: seal_of
SELECT first_position, last_position, hash, time
FROM log.seals WHERE last_position >= $1 ORDER BY last_position LIMIT 1;

-- name: first_position
SELECT log.first_position();
