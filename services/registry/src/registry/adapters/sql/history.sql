-- Statements of adapters/postgres_backward_reads.py and adapters/postgres_log_sizes.py. `-- name:` starts one.

-- A page backwards, cut by its size in bytes here: rows carry large values as pointers until they leave. `found` tells
-- how many rows there were before the cut.
-- name: read_back
SELECT e.position, e.stream_id::text, e.version, t.name, e.time, e.data, e.metadata, e.found
FROM (
    SELECT e.*, count(*) OVER () AS found, sum(e.size) OVER (ORDER BY e.position DESC) AS total
    FROM (
        SELECT e.*, octet_length(e.data) + octet_length(e.metadata) AS size
        FROM log.events e
        WHERE e.position > $1 AND e.position <= $2
        ORDER BY e.position DESC
        LIMIT $3
    ) e
) e
JOIN log.event_types t ON t.id = e.type
WHERE e.total <= $4::bigint OR e.total = e.size
ORDER BY e.position DESC;

-- The same for the selected events, by their kinds: for many events, or a short stretch of the log.
-- name: read_back_by_kind
SELECT e.position, e.stream_id::text, e.version, t.name, e.time, e.data, e.metadata, e.found
FROM (
    SELECT e.*, count(*) OVER () AS found, sum(e.size) OVER (ORDER BY e.position DESC) AS total
    FROM (
        SELECT e.*, octet_length(e.data) + octet_length(e.metadata) AS size
        FROM log.events e
        WHERE e.position > $1 AND e.position <= $2 AND (
            e.type = ANY (ARRAY(
                SELECT t.id FROM log.event_types t WHERE split_part(t.name, '.', 1) = ANY($5::text[])))
            OR e.stream_id = ANY($6::uuid[])
        )
        ORDER BY e.position DESC
        LIMIT $3
    ) e
) e
JOIN log.event_types t ON t.id = e.type
WHERE e.total <= $4::bigint OR e.total = e.size
ORDER BY e.position DESC;

-- The same by their streams: for few events in a long stretch of the log. OFFSET 0 keeps it a look-up for each stream.
-- name: read_back_by_stream
SELECT e.position, e.stream_id::text, e.version, t.name, e.time, e.data, e.metadata, e.found
FROM (
    SELECT e.*, count(*) OVER () AS found, sum(e.size) OVER (ORDER BY e.position DESC) AS total
    FROM (
        SELECT e.*, octet_length(e.data) + octet_length(e.metadata) AS size
        FROM (
            SELECT c.stream_id, c.first_position, c.last_position FROM log.streams c
            WHERE cardinality($5::text[]) > 0 AND c.category = ANY($5::text[])
                AND c.last_position > $1 AND c.first_position <= $2
            UNION
            SELECT c.stream_id, c.first_position, c.last_position FROM log.streams c
            WHERE c.stream_id = ANY($6::uuid[]) AND c.last_position > $1 AND c.first_position <= $2
        ) s
        CROSS JOIN LATERAL (
            SELECT e.* FROM log.events e
            WHERE e.stream_id = s.stream_id
                AND e.position >= greatest($1::bigint + 1, s.first_position)
                AND e.position <= least($2::bigint, s.last_position)
            OFFSET 0
        ) e
        ORDER BY e.position DESC
        LIMIT $3
    ) e
) e
JOIN log.event_types t ON t.id = e.type
WHERE e.total <= $4::bigint OR e.total = e.size
ORDER BY e.position DESC;

-- Rows as the planner last knew them; -1 (never analyzed) counts as few. Partitioned tables: the sum of their parts.
-- name: rows_known
SELECT n.name, coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint
FROM unnest($1::text[]) AS n(name)
LEFT JOIN pg_inherits i ON i.inhparent = ('log.' || n.name)::regclass
JOIN pg_class c ON c.oid = coalesce(i.inhrelid, ('log.' || n.name)::regclass)
GROUP BY n.name;

-- name: count_seals
SELECT count(*) FROM log.seals;

-- name: count_commands
SELECT count(*) FROM log.commands;

-- Percent of a table's pages: $1; 100 is everything. The same pages every time, so that answers can be compared.
-- name: events_of_kind
SELECT t.name, e.events
FROM (
    SELECT e.type, count(*) AS events FROM log.events e TABLESAMPLE SYSTEM ($1) REPEATABLE (0) GROUP BY e.type
) e
JOIN log.event_types t ON t.id = e.type;

-- name: streams_of_category
SELECT s.category, count(*) FROM log.streams s TABLESAMPLE SYSTEM ($1) REPEATABLE (0) GROUP BY s.category;

-- Bytes with indexes and out-of-line values; the partitions of a table count as the table.
-- name: bytes_of_table
SELECT coalesce(p.relname, c.relname)::text, sum(pg_total_relation_size(c.oid))::bigint
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
WHERE c.relnamespace = 'log'::regnamespace AND c.relkind = 'r'
GROUP BY 1;

-- name: covered_to
SELECT covered_to FROM log.head WHERE id = 1;

-- name: event_positions
SELECT log.first_position(), h.position FROM log.head h WHERE h.id = 1;
