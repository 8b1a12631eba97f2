-- The append of this release. log.append stays beside it for registries of the release before; both take
-- the same lock and keep the same chain.
SET LOCAL ROLE log_owner;

-- The latest time after the last seal that was asked for (log.seal_at). Later seals get later times, also when the clock
-- is set back, so that the answer stays.
ALTER TABLE log.head ADD COLUMN asked timestamptz NOT NULL DEFAULT 'epoch';

ALTER TABLE log.commands ADD CONSTRAINT commands_event_count CHECK (event_count >= 0);

-- What becomes of each command of a batch, for a caller that holds the lock of log.head. In arrays by command:
-- its status (see log.append_batch), where its stream is or the known command left it, the known command's
-- position and number of events, the taken name, and how many events of refused commands are before its end.
CREATE FUNCTION log.judge(
    command_ids uuid[], request_hashes bytea[], stream_ids uuid[], expected_versions int[], event_ends int[],
    claim_commands int[], claim_names text[],
    OUT statuses text[], OUT versions int[], OUT positions bigint[], OUT event_counts int[], OUT taken_names text[],
    OUT refused_events int[]
)
LANGUAGE sql STABLE
AS $$
    SELECT array_agg(j.status ORDER BY j.n), array_agg(j.version ORDER BY j.n), array_agg(j.position ORDER BY j.n),
           array_agg(j.event_count ORDER BY j.n), array_agg(j.name ORDER BY j.n),
           array_agg(j.refused_events ORDER BY j.n)
    FROM (
        SELECT j.*, (sum(CASE WHEN j.status = 'stored' THEN 0 ELSE j.own_events END) OVER (ORDER BY j.n))::int
            AS refused_events
        FROM (
            SELECT a.n, a.event_end - coalesce(event_ends[a.n - 1], 0) AS own_events,
                   coalesce(known.version, stream.version, 0) AS version, known.position, known.event_count,
                   claimed.name,
                   CASE
                       WHEN known.request_hash = a.request_hash THEN 'replayed'
                       WHEN known.request_hash IS NOT NULL THEN 'command_reused'
                       WHEN coalesce(stream.version, 0) IS DISTINCT FROM a.expected_version THEN 'version_conflict'
                       WHEN claimed.name IS NOT NULL THEN 'claim_conflict'
                       ELSE 'stored'
                   END AS status
            FROM unnest(command_ids, request_hashes, stream_ids, expected_versions, event_ends)
                WITH ORDINALITY AS a(command_id, request_hash, stream_id, expected_version, event_end, n)
            LEFT JOIN LATERAL (
                SELECT k.request_hash, k.version, k.position, k.event_count
                FROM log.commands k WHERE k.command_id = a.command_id LIMIT 1
            ) known ON true
            LEFT JOIN LATERAL (
                SELECT s.version FROM log.streams s WHERE s.stream_id = a.stream_id LIMIT 1
            ) stream ON true
            LEFT JOIN LATERAL (
                SELECT min(c.name) AS name FROM unnest(claim_commands, claim_names) AS c(command, name)
                WHERE c.command = a.n AND EXISTS (SELECT FROM log.claims t WHERE t.name = c.name)
            ) claimed ON true
        ) j
    ) j
$$;

-- The numbers of stored names, in their order; unknown ones are added.
CREATE FUNCTION log.type_ids(names text[]) RETURNS smallint[]
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO log.event_types (id, name)
        SELECT (SELECT coalesce(max(t.id), 0) FROM log.event_types t) + row_number() OVER (ORDER BY missing.name),
               missing.name
        FROM (
            SELECT DISTINCT n.name FROM unnest(names) AS n(name)
            WHERE NOT EXISTS (SELECT FROM log.event_types t WHERE t.name = n.name)
        ) missing;
    RETURN (
        SELECT array_agg(t.id ORDER BY n.n)
        FROM unnest(names) WITH ORDINALITY AS n(name, n) JOIN log.event_types t ON t.name = n.name
    );
END
$$;

-- Appends all waiting commands of one process, as docs/events.md says. Per command:
--   stored            its events (none, if it changed nothing) are in the log
--   replayed          this command id is known with this request hash: the first result again
--   command_reused    this command id is known with another request hash
--   version_conflict  the stream is not at expected_version; `version` says where it is
--   claim_conflict    a name is taken; `detail` says which
-- A command that is refused leaves no trace and does not disturb the others.
-- Arrays by command: command_ids … event_ends; event_ends[c] is how many events commands 1 to c have together.
-- By event, in the order of the commands: event_commands and event_types (indexes into command_ids and
-- type_names), event_data. type_names has each stored name once.
-- Comes back: the position before the batch, and, unless all were stored, arrays by command. When all were
-- stored the caller knows the rest: command c ends at position base + event_ends[c].
-- Within one call command ids, streams and claims must differ; else the call fails as a whole.
-- Raises EF001 while the log's time is too far ahead of the clock, EF003 in another isolation level, EF005 when
-- the arrays do not fit each other.
CREATE FUNCTION log.append_batch(
    command_ids uuid[], request_hashes bytea[], stream_ids uuid[], categories text[],
    expected_versions int[], metadatas bytea[], event_ends int[],
    type_names text[], event_commands int[], event_types int[], event_data bytea[],
    claim_commands int[], claim_names text[], release_commands int[], release_names text[],
    OUT base bigint, OUT statuses text[], OUT versions int[], OUT positions bigint[], OUT event_counts int[],
    OUT details text[]
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
-- The tables grow from empty to millions under cached plans: index look-ups are always right here.
SET enable_seqscan = off
SET enable_mergejoin = off
SET enable_hashjoin = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    head_was  log.head%ROWTYPE;
    seal_time timestamptz;
    seal_hash bytea;
    digests   bytea;
    type_ids  smallint[];
    given     int := cardinality(event_data);
    added     int := given;
    gaps      int[];  -- by command: how many events of refused commands are before its end; null: none are refused
    inserted  bigint;
    fitting   bigint;
    refused   boolean;
    ahead_max CONSTANT interval := '60 seconds';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- A snapshot from before the lock would not see what the previous writer stored.
        RAISE EXCEPTION 'log.append_batch needs the isolation level read committed' USING ERRCODE = 'EF003';
    END IF;
    IF event_ends[cardinality(command_ids)] IS DISTINCT FROM given THEN
        RAISE EXCEPTION 'event_ends must end with the number of events' USING ERRCODE = 'EF005';
    END IF;
    SELECT * INTO STRICT head_was FROM head WHERE id = 1 FOR UPDATE;
    base := head_was.position;
    seal_time := greatest(greatest(head_was.time, head_was.asked) + interval '1 microsecond', clock_timestamp());
    IF seal_time > clock_timestamp() + ahead_max THEN
        RAISE EXCEPTION 'the log''s time % is more than % ahead of the clock', seal_time, ahead_max
            USING ERRCODE = 'EF001';
    END IF;

    SELECT EXISTS (SELECT FROM commands k WHERE k.command_id = ANY (command_ids))
        OR EXISTS (SELECT FROM claims c WHERE c.name = ANY (claim_names))
        OR EXISTS (
            SELECT FROM unnest(stream_ids, expected_versions) AS a(stream_id, expected_version)
            LEFT JOIN LATERAL (
                SELECT s.version FROM streams s WHERE s.stream_id = a.stream_id LIMIT 1
            ) stream ON true
            WHERE coalesce(stream.version, 0) IS DISTINCT FROM a.expected_version
        )
    INTO refused;
    IF refused THEN
        SELECT j.statuses, j.versions, j.positions, j.event_counts, j.taken_names, j.refused_events
            INTO statuses, versions, positions, event_counts, details, gaps
            FROM judge(command_ids, request_hashes, stream_ids, expected_versions, event_ends,
                       claim_commands, claim_names) j;
        IF 'stored' <> ALL (statuses) THEN
            RETURN;
        END IF;
        added := given - gaps[cardinality(gaps)];
    END IF;

    WHILE base + added + partition_size() > head_was.covered_to LOOP
        PERFORM add_partition();
        SELECT h.covered_to INTO head_was.covered_to FROM head h WHERE h.id = 1;
    END LOOP;

    INSERT INTO commands (command_id, request_hash, version, position, event_count, time)
        SELECT a.command_id, a.request_hash, a.expected_version + a.event_end - coalesce(event_ends[a.n - 1], 0),
               base + a.event_end - coalesce(gaps[a.n], 0), a.event_end - coalesce(event_ends[a.n - 1], 0), seal_time
        FROM unnest(command_ids, request_hashes, expected_versions, event_ends)
            WITH ORDINALITY AS a(command_id, request_hash, expected_version, event_end, n)
        WHERE statuses IS NULL OR statuses[a.n] = 'stored';
    IF cardinality(release_names) > 0 THEN
        DELETE FROM claims c
            USING unnest(release_commands, release_names) AS r(command, name)
            WHERE c.name = r.name AND c.stream_id = stream_ids[r.command]
                AND (statuses IS NULL OR statuses[r.command] = 'stored');
    END IF;
    IF cardinality(claim_names) > 0 THEN
        INSERT INTO claims (name, stream_id)
            SELECT c.name, stream_ids[c.command]
            FROM unnest(claim_commands, claim_names) AS c(command, name)
            WHERE statuses IS NULL OR statuses[c.command] = 'stored';
    END IF;

    IF added > 0 THEN
        SELECT array_agg(t.id ORDER BY n.n) INTO type_ids
            FROM unnest(type_names) WITH ORDINALITY AS n(name, n)
            LEFT JOIN LATERAL (SELECT t.id FROM event_types t WHERE t.name = n.name LIMIT 1) t ON true;
        IF array_position(type_ids, NULL) IS NOT NULL THEN
            type_ids := type_ids(type_names);
        END IF;
        INSERT INTO events (position, stream_id, version, type, time, data, metadata)
            SELECT base + e.n - coalesce(gaps[e.command], 0), stream_ids[e.command],
                   expected_versions[e.command] + (e.n - coalesce(event_ends[e.command - 1], 0))::int,
                   type_ids[e.type], seal_time, e.data, metadatas[e.command]
            FROM unnest(event_commands, event_types, event_data) WITH ORDINALITY AS e(command, type, data, n)
            WHERE statuses IS NULL OR statuses[e.command] = 'stored';
        INSERT INTO streams AS s (stream_id, category, version, first_position, last_position)
            SELECT a.stream_id, a.category, a.expected_version + a.event_end - coalesce(event_ends[a.n - 1], 0),
                   base + 1 + coalesce(event_ends[a.n - 1], 0) - coalesce(gaps[a.n], 0),
                   base + a.event_end - coalesce(gaps[a.n], 0)
            FROM unnest(stream_ids, categories, expected_versions, event_ends)
                WITH ORDINALITY AS a(stream_id, category, expected_version, event_end, n)
            WHERE a.event_end > coalesce(event_ends[a.n - 1], 0) AND (statuses IS NULL OR statuses[a.n] = 'stored')
            ON CONFLICT (stream_id) DO UPDATE
                SET version = excluded.version, last_position = excluded.last_position;
        SELECT string_agg(
                event_digest(
                    base + e.n - coalesce(gaps[e.command], 0), stream_ids[e.command],
                    expected_versions[e.command] + (e.n - coalesce(event_ends[e.command - 1], 0))::int,
                    seal_time, type_names[e.type], e.data, metadatas[e.command]),
                ''::bytea ORDER BY e.n),
            count(*),
            count(*) FILTER (WHERE e.n > coalesce(event_ends[e.command - 1], 0) AND e.n <= event_ends[e.command])
        INTO digests, inserted, fitting
        FROM unnest(event_commands, event_types, event_data) WITH ORDINALITY AS e(command, type, data, n)
        WHERE statuses IS NULL OR statuses[e.command] = 'stored';
        IF inserted <> added OR fitting <> added THEN
            RAISE EXCEPTION 'event_commands must follow event_ends' USING ERRCODE = 'EF005';
        END IF;
        seal_hash := sha256(
            head_was.hash || int8send(base + 1) || int8send(base + added) || int8send(microseconds(seal_time)) || digests);
        INSERT INTO seals (last_position, first_position, hash, time)
            VALUES (base + added, base + 1, seal_hash, seal_time);
        UPDATE head SET position = base + added, hash = seal_hash, time = seal_time WHERE id = 1;
        PERFORM pg_notify('eventflows_log', (base + added)::text);
    END IF;
    IF refused THEN
        SELECT array_agg(CASE WHEN a.status = 'stored' THEN a.expected_version + a.own_events ELSE a.version END ORDER BY a.n),
               array_agg(CASE WHEN a.status = 'stored' THEN base + a.event_end - a.gap ELSE a.position END ORDER BY a.n),
               array_agg(CASE WHEN a.status = 'stored' THEN a.own_events ELSE a.event_count END ORDER BY a.n)
        INTO versions, positions, event_counts
        FROM (
            SELECT a.*, a.event_end - coalesce(event_ends[a.n - 1], 0) AS own_events
            FROM unnest(statuses, versions, positions, event_counts, expected_versions, event_ends, gaps)
                WITH ORDINALITY AS a(status, version, position, event_count, expected_version, event_end, gap, n)
        ) a;
    END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION log.judge, log.type_ids, log.append_batch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log.append_batch TO log_app;
