SET LOCAL ROLE log_owner;

-- Forgets commands older than 7 days, at most `most` of them; returns how many went.
CREATE FUNCTION log.prune_commands(most int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = log, pg_temp
AS $$
DECLARE
    gone int;
BEGIN
    DELETE FROM commands WHERE command_id IN (
        SELECT c.command_id FROM commands c
        WHERE c.time < clock_timestamp() - interval '7 days' ORDER BY c.time LIMIT most
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA log FROM PUBLIC;
GRANT USAGE ON SCHEMA log TO log_app, log_ops;
GRANT SELECT ON log.head, log.event_types, log.events, log.streams, log.commands, log.claims, log.seals
    TO log_app, log_ops;
GRANT EXECUTE ON FUNCTION log.append, log.prune_commands TO log_app;
GRANT EXECUTE ON FUNCTION log.prune_commands TO log_ops;
