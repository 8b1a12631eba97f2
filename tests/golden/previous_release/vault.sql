-- Statements of adapters/postgres_vault.py. `-- name:` starts one.

-- name: add_data_key
INSERT INTO vault.data_keys (stream_id, master_key_id, wrapped_key) VALUES ($1, $2, $3)
ON CONFLICT (stream_id) DO NOTHING;

-- name: data_key
SELECT master_key_id, wrapped_key FROM vault.data_keys WHERE stream_id = $1;

-- name: add_secret
INSERT INTO vault.secrets (secret_id, stream_id, field, sealed) VALUES ($1, $2, $3, $4);

-- name: mark_used
UPDATE vault.secrets SET used = true WHERE secret_id = $1 AND NOT used;

-- name: discard
DELETE FROM vault.secrets WHERE secret_id = $1 AND NOT used;

-- name: read
SELECT s.sealed, k.master_key_id, k.wrapped_key
FROM vault.secrets s JOIN vault.data_keys k USING (stream_id)
WHERE s.secret_id = $1 AND s.stream_id = $2 AND s.field = $3;

-- name: older
SELECT secret_id, stream_id, used FROM vault.secrets
WHERE created_at < clock_timestamp() - make_interval(secs => $1) AND secret_id > $2
ORDER BY secret_id LIMIT $3;

-- name: shred
DELETE FROM vault.data_keys WHERE stream_id = $1;
