-- Statements of adapters/postgres_event_store.py. `-- name:` starts one.

-- name: append
SELECT status, version, position, event_count, detail
FROM log.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- Keyset page, cut after $3 bytes; the first event always comes. Positions are dense, so no event is
-- skipped; the statement holds no transaction open.
-- name: read
SELECT page.position, page.stream_id::text, page.version, t.name, page.time, page.data, page.metadata
FROM (
    SELECT e.*, sum(octet_length(e.data) + octet_length(e.metadata)) OVER (ORDER BY e.position) AS bytes
    FROM log.events e
    WHERE e.position > $1
    ORDER BY e.position
    LIMIT $2
) page
JOIN log.event_types t ON t.id = page.type
WHERE page.bytes <= $3 OR page.position = $1 + 1
ORDER BY page.position;

-- name: read_stream
SELECT e.position, e.stream_id::text, e.version, t.name, e.time, e.data, e.metadata
FROM log.streams s
JOIN log.events e
    ON e.stream_id = s.stream_id AND e.position BETWEEN s.first_position AND s.last_position
JOIN log.event_types t ON t.id = e.type
WHERE s.stream_id = $1 AND e.version > $2
ORDER BY e.version
LIMIT $3;

-- name: head
SELECT position, hash, time FROM log.head WHERE id = 1;

-- name: seals
SELECT first_position, last_position, hash, time
FROM log.seals WHERE last_position > $1 ORDER BY last_position LIMIT $2;

-- name: find_command
SELECT request_hash, version, position, event_count FROM log.commands WHERE command_id = $1;

-- name: prune_commands
SELECT log.prune_commands($1);
