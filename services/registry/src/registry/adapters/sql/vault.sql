-- Statements of adapters/postgres_vault.py. `-- name:` starts one.

-- name: master_key
SELECT master_key_id, sealed_digest_keys FROM vault.master_key;

-- name: master_key_in_use
-- Held until the end of the transaction, so that no data key is made under a key that was left.
SELECT master_key_id FROM vault.master_key FOR SHARE;

-- name: lock_master_key
SELECT master_key_id, sealed_digest_keys FROM vault.master_key FOR UPDATE;

-- name: add_master_key
INSERT INTO vault.master_key (master_key_id, sealed_digest_keys) VALUES ($1, $2)
ON CONFLICT (id) DO NOTHING;

-- name: change_master_key
UPDATE vault.master_key
SET master_key_id = $1, sealed_digest_keys = $2, since = clock_timestamp();

-- name: wrapping_keys
SELECT DISTINCT master_key_id FROM vault.data_keys;

-- name: wrapped_otherwise
SELECT stream_id, master_key_id, wrapped_key FROM vault.data_keys
WHERE master_key_id <> $1 ORDER BY stream_id LIMIT $2 FOR UPDATE;

-- name: wrap_anew
UPDATE vault.data_keys SET master_key_id = $2, wrapped_key = $3 WHERE stream_id = $1;

-- name: add_data_key
INSERT INTO vault.data_keys (stream_id, shreddings, master_key_id, wrapped_key)
VALUES ($1, $2, $3, $4) ON CONFLICT (stream_id) DO NOTHING;

-- name: data_key
SELECT shreddings, master_key_id, wrapped_key FROM vault.data_keys WHERE stream_id = $1 FOR UPDATE;

-- name: add_secret
INSERT INTO vault.secrets (secret_id, stream_id, field, sealed) VALUES ($1, $2, $3, $4);

-- name: mark_used
UPDATE vault.secrets SET used = true, superseded_at = NULL
WHERE secret_id = $1 AND (NOT used OR superseded_at IS NOT NULL);

-- name: supersede
UPDATE vault.secrets SET used = true, superseded_at = clock_timestamp()
WHERE secret_id = $1 AND superseded_at IS NULL;

-- name: holds
-- One that is being destroyed at this moment is waited for, and is gone then.
WITH renewed AS (
    UPDATE vault.secrets SET superseded_at = clock_timestamp()
    WHERE secret_id = $1 AND stream_id = $2 AND superseded_at IS NOT NULL
    RETURNING secret_id
)
SELECT secret_id FROM renewed
UNION ALL
SELECT secret_id FROM vault.secrets
WHERE secret_id = $1 AND stream_id = $2 AND superseded_at IS NULL;

-- name: discard
DELETE FROM vault.secrets WHERE secret_id = $1 AND NOT used;

-- name: destroy_superseded
DELETE FROM vault.secrets
WHERE secret_id = $1 AND superseded_at < clock_timestamp() - make_interval(secs => $2)
RETURNING secret_id;

-- name: read
SELECT s.sealed, k.master_key_id, k.wrapped_key
FROM vault.secrets s JOIN vault.data_keys k USING (stream_id)
WHERE s.secret_id = $1 AND s.stream_id = $2 AND s.field = $3;

-- name: older
SELECT s.secret_id, s.stream_id, s.used, s.superseded_at IS NOT NULL AS superseded, k.shreddings
FROM vault.secrets s JOIN vault.data_keys k USING (stream_id)
WHERE s.created_at < clock_timestamp() - make_interval(secs => $1) AND s.secret_id > $2
ORDER BY s.secret_id LIMIT $3;

-- name: shred
DELETE FROM vault.data_keys WHERE stream_id = $1;

-- name: shred_before
DELETE FROM vault.data_keys WHERE stream_id = $1 AND shreddings < $2;

-- name: forget_data_keys
DELETE FROM vault.data_keys;

-- name: forget_master_key
DELETE FROM vault.master_key;
