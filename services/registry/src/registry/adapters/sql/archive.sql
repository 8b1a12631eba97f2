-- Statements of adapters/postgres_archive.py. `-- name:` starts one.

-- name: room
SELECT position, covered_to, log.partition_size() AS partition_size FROM log.head WHERE id = 1;

-- name: newest_archived
SELECT first_position, last_position, sealed_position, hash, file_sha256, state
FROM log.archived ORDER BY first_position DESC LIMIT 1;

-- name: all_archived
SELECT first_position, last_position, sealed_position, hash, file_sha256, state
FROM log.archived ORDER BY first_position;

-- name: partitions
SELECT first_position, last_position FROM log.partitions ORDER BY first_position;

-- name: state_of
SELECT stream_id::text, version, format, state FROM log.stream_states WHERE stream_id = $1;

-- name: import_batches
SELECT log.import_batches($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: keep_states
SELECT log.keep_stream_states($1, $2, $3, $4);

-- name: detach
SELECT log.detach_partition($1, $2, $3, $4);

-- name: drop
SELECT log.drop_archived($1, $2);
