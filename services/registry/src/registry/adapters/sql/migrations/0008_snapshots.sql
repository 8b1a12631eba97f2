-- Snapshots of the catalog, a cache: losing one costs a replay. And the log's line of time.
SET LOCAL ROLE log_owner;

CREATE TABLE log.snapshots (
    fold     text NOT NULL CHECK (octet_length(fold) BETWEEN 1 AND 100),  -- catalog.snapshot.FOLD of the writer
    position bigint NOT NULL CHECK (position > 0),
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32),  -- the chain's at `position`
    parts    int NOT NULL CHECK (parts > 0),
    bytes    bigint NOT NULL,
    time     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (fold, position)
);

CREATE TABLE log.snapshot_parts (
    fold     text NOT NULL,
    position bigint NOT NULL,
    number   int NOT NULL CHECK (number >= 0),
    data     bytea NOT NULL CHECK (octet_length(data) BETWEEN 1 AND 262144),
    PRIMARY KEY (fold, position, number),
    FOREIGN KEY (fold, position) REFERENCES log.snapshots ON DELETE CASCADE
);
-- Compressing would take most of the time and win little.
ALTER TABLE log.snapshot_parts ALTER COLUMN data SET STORAGE EXTERNAL;

-- The snapshots that belong to this log: after a restore there may be some of a future that never was.
CREATE VIEW log.own_snapshots AS
    SELECT n.fold, n.position, n.hash, n.parts, n.bytes, n.time
    FROM log.snapshots n
    WHERE EXISTS (SELECT FROM log.seals s WHERE s.last_position = n.position AND s.hash = n.hash);

-- The oldest event that was not archived; one after the head when there is none.
CREATE FUNCTION log.first_position() RETURNS bigint LANGUAGE sql STABLE
RETURN coalesce(
    (SELECT e.position FROM log.events e ORDER BY e.position LIMIT 1),
    (SELECT h.position + 1 FROM log.head h WHERE h.id = 1)
);

-- Begins a snapshot; its parts follow in the same transaction. False: there is one of this key.
-- Raises EF004 unless a seal of this log ends at this position with this hash.
CREATE FUNCTION log.begin_snapshot(
    new_fold text, new_position bigint, new_hash bytea, new_parts int, new_bytes bigint
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM seals s WHERE s.last_position = new_position AND s.hash = new_hash) THEN
        RAISE EXCEPTION 'no seal of this log ends at % with this hash', new_position USING ERRCODE = 'EF004';
    END IF;
    DELETE FROM snapshots n  -- of a log that stood here before
        WHERE n.fold = new_fold AND n.position = new_position AND n.hash <> new_hash;
    INSERT INTO snapshots (fold, position, hash, parts, bytes)
        VALUES (new_fold, new_position, new_hash, new_parts, new_bytes)
        ON CONFLICT (fold, position) DO NOTHING;
    RETURN FOUND;
END
$$;

CREATE FUNCTION log.add_snapshot_part(of_fold text, of_position bigint, part_number int, part bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path = log, pg_temp
AS $$
    INSERT INTO snapshot_parts (fold, position, number, data) VALUES (of_fold, of_position, part_number, part)
$$;

-- Forgets all but the newest snapshots of a fold; returns how many went. When events were archived, the oldest
-- snapshot from which the rest can be replayed stays too. Those of other folds go after 7 days.
CREATE FUNCTION log.keep_snapshots(of_fold text, newest int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
AS $$
DECLARE
    oldest bigint := first_position();
    gone   int;
BEGIN
    DELETE FROM snapshots n
    WHERE n.fold <> of_fold AND n.time < clock_timestamp() - interval '7 days'
       OR n.fold = of_fold
          AND n.position NOT IN (
              SELECT o.position FROM own_snapshots o WHERE o.fold = of_fold ORDER BY o.position DESC LIMIT newest)
          AND NOT (oldest > 1 AND n.position = (
              SELECT min(o.position) FROM own_snapshots o WHERE o.fold = of_fold AND o.position >= oldest - 1));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;

-- The last seal with a time up to the one asked for: nulls when there is none, or when the time is not yet past by
-- `clock` nor by the log. A time after the last seal waits for the append that is under way: it may get a seal up to that
-- time. An append that comes later cannot, since the time is kept as asked for, even if the clock is set back.
CREATE FUNCTION log.seal_at(
    moment timestamptz, OUT first_position bigint, OUT last_position bigint, OUT hash bytea,
    OUT "time" timestamptz, OUT clock timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    clock := clock_timestamp();
    IF moment > (SELECT greatest(h.time, h.asked) FROM head h WHERE h.id = 1) THEN
        IF moment >= clock THEN
            RETURN;
        END IF;
        UPDATE head h SET asked = greatest(h.asked, moment) WHERE h.id = 1;
    END IF;
    SELECT s.first_position, s.last_position, s.hash, s.time INTO first_position, last_position, hash, "time"
        FROM seals s WHERE s.time <= moment ORDER BY s.time DESC LIMIT 1;
END
$$;

REVOKE EXECUTE ON FUNCTION
    log.first_position, log.begin_snapshot, log.add_snapshot_part, log.keep_snapshots, log.seal_at FROM PUBLIC;
GRANT SELECT ON log.snapshots, log.snapshot_parts, log.own_snapshots TO log_app, log_ops;
GRANT EXECUTE ON FUNCTION log.first_position, log.seal_at TO log_app, log_ops;
GRANT EXECUTE ON FUNCTION log.begin_snapshot, log.add_snapshot_part, log.keep_snapshots TO log_app;
