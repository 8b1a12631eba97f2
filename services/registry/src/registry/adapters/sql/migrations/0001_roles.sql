-- Roles belong to the whole server, so another database may have made them already.
--   log_owner    owns the log and its functions; nobody logs in as it
--   log_app      the registry: EXECUTE on the functions, SELECT; nothing else
--   log_ops      operators: SELECT everywhere in the log, pruning
--   vault_owner  owns the vault; nobody logs in as it
--   vault_app    the registry's second connection: rows of the vault, nothing of the log
-- Users that log in are members of these; the migration command makes them from the DSN files.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['log_owner', 'log_app', 'log_ops', 'vault_owner', 'vault_app'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;

CREATE SCHEMA log AUTHORIZATION log_owner;
CREATE SCHEMA vault AUTHORIZATION vault_owner;
