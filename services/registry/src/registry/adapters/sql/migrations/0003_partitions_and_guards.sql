SET LOCAL ROLE log_owner;

CREATE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the log is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'EF002';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.events
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.events
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.seals
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.seals
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.event_types
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.event_types
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER kept BEFORE DELETE ON log.head
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER kept_truncate BEFORE TRUNCATE ON log.head
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER kept BEFORE DELETE ON log.streams
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER kept_truncate BEFORE TRUNCATE ON log.streams
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();

-- How many positions a partition holds. A change holds for partitions made afterwards.
CREATE FUNCTION log.partition_size() RETURNS bigint LANGUAGE sql IMMUTABLE RETURN 1000000;

-- Adds the next partition. The caller holds the lock of log.head.
-- Made apart and attached, since ATTACH does not shut out readers of the parent, and CREATE … PARTITION OF does.
-- The triggers are made here too: statement triggers of the parent do not guard its partitions.
CREATE FUNCTION log.add_partition() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    low  bigint;
    high bigint;
    part text;
BEGIN
    SELECT h.covered_to + 1, h.covered_to + 1 + log.partition_size() INTO STRICT low, high
        FROM log.head h WHERE h.id = 1;
    part := 'events_from_' || lpad(low::text, 15, '0');
    EXECUTE format('CREATE TABLE log.%I (LIKE log.events INCLUDING ALL)', part);
    EXECUTE format('CREATE UNIQUE INDEX %I ON log.%I (stream_id, version)', part || '_by_stream', part);
    EXECUTE format(
        'CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change()', part);
    EXECUTE format(
        'CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change()', part);
    EXECUTE format('GRANT SELECT ON log.%I TO log_ops', part);
    EXECUTE format('ALTER TABLE log.events ATTACH PARTITION log.%I FOR VALUES FROM (%s) TO (%s)', part, low, high);
    UPDATE log.head SET covered_to = high - 1 WHERE id = 1;
END
$$;
REVOKE EXECUTE ON FUNCTION log.add_partition() FROM PUBLIC;

SELECT log.add_partition();
SELECT log.add_partition();
