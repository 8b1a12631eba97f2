-- Statements of adapters/postgres_event_store.py. `-- name:` starts one.

-- name: append
SELECT base, statuses, versions, positions, event_counts, details
FROM log.append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- Reads give `size`, and of an event of more than 2,048 bytes no bytes: a page of such would be too much to
-- fetch before it is cut. What of them stays in the page comes by `bodies`. Reads hold no transaction open.

-- Keyset page. Positions are dense, so no event is skipped.
-- name: read
SELECT e.position, e.stream_id::text, e.version, e.type, e.time,
       CASE WHEN octet_length(e.data) + octet_length(e.metadata) <= 2048 THEN e.data END AS data,
       CASE WHEN octet_length(e.data) + octet_length(e.metadata) <= 2048 THEN e.metadata END AS metadata,
       octet_length(e.data) + octet_length(e.metadata) AS size
FROM log.events e
WHERE e.position > $1
ORDER BY e.position
LIMIT $2;

-- name: bodies
SELECT e.position, e.data, e.metadata FROM log.events e WHERE e.position = ANY($1::bigint[]);

-- How many events, at most, streams of categories $1 and streams $2 have between $3 and $4.
-- name: count_selected
SELECT coalesce(sum(s.version), 0)::bigint
FROM (
    SELECT c.stream_id, c.version FROM log.streams c
    WHERE cardinality($1::text[]) > 0 AND c.category = ANY($1::text[])
        AND c.last_position > $3 AND c.first_position <= $4
    UNION
    SELECT c.stream_id, c.version FROM log.streams c
    WHERE c.stream_id = ANY($2::uuid[]) AND c.last_position > $3 AND c.first_position <= $4
) s;

-- The selected events by their streams: for few events in a long stretch of the log.
-- OFFSET 0 keeps it a look-up for each stream, in the partitions that can hold it.
-- name: read_selected_by_stream
SELECT e.position, e.stream_id::text, e.version, e.type, e.time,
       CASE WHEN octet_length(e.data) + octet_length(e.metadata) <= 2048 THEN e.data END AS data,
       CASE WHEN octet_length(e.data) + octet_length(e.metadata) <= 2048 THEN e.metadata END AS metadata,
       octet_length(e.data) + octet_length(e.metadata) AS size
FROM (
    SELECT c.stream_id, c.first_position, c.last_position FROM log.streams c
    WHERE cardinality($1::text[]) > 0 AND c.category = ANY($1::text[])
        AND c.last_position > $3 AND c.first_position <= $4
    UNION
    SELECT c.stream_id, c.first_position, c.last_position FROM log.streams c
    WHERE c.stream_id = ANY($2::uuid[]) AND c.last_position > $3 AND c.first_position <= $4
) s
CROSS JOIN LATERAL (
    SELECT e.* FROM log.events e
    WHERE e.stream_id = s.stream_id
        AND e.position >= greatest($3::bigint + 1, s.first_position)
        AND e.position <= least($4::bigint, s.last_position)
    OFFSET 0
) e
ORDER BY e.position
LIMIT $5;

-- The selected events by their kinds: for many events, or a short stretch of the log.
-- name: read_selected_by_kind
SELECT e.position, e.stream_id::text, e.version, e.type, e.time,
       CASE WHEN octet_length(e.data) + octet_length(e.metadata) <= 2048 THEN e.data END AS data,
       CASE WHEN octet_length(e.data) + octet_length(e.metadata) <= 2048 THEN e.metadata END AS metadata,
       octet_length(e.data) + octet_length(e.metadata) AS size
FROM log.events e
WHERE e.position > $3 AND e.position <= $4 AND (
    e.type = ANY (ARRAY(SELECT t.id FROM log.event_types t WHERE split_part(t.name, '.', 1) = ANY($1::text[])))
    OR e.stream_id = ANY($2::uuid[])
)
ORDER BY e.position
LIMIT $5;

-- LIMIT inside keeps it a look-up in the partitions that the stream's positions lie in. A stream without such events
-- gives one row of nulls, and every row the stream's version: so it shows when events are missing because they were archived.
-- name: read_stream
SELECT e.position, e.stream_id::text, e.version, e.type, e.time, e.data, e.metadata,
       octet_length(e.data) + octet_length(e.metadata) AS size, s.version AS stream_version
FROM log.streams s
LEFT JOIN LATERAL (
    SELECT e.* FROM log.events e
    WHERE e.stream_id = s.stream_id AND e.version > $2
        AND e.position BETWEEN s.first_position AND s.last_position
    ORDER BY e.version
    LIMIT $3
) e ON true
WHERE s.stream_id = $1
ORDER BY e.version;

-- The last position that was archived; 0 when nothing was.
-- name: archived
SELECT coalesce(max(last_position), 0) FROM log.archived;

-- name: event_types
SELECT id, name FROM log.event_types;

-- name: head
SELECT position, hash, time FROM log.head WHERE id = 1;

-- name: seals
SELECT first_position, last_position, hash, time
FROM log.seals WHERE last_position > $1 ORDER BY last_position LIMIT $2;

-- name: find_command
SELECT request_hash, version, position, event_count FROM log.commands WHERE command_id = $1;

-- name: prune_commands
SELECT log.prune_commands($1);
