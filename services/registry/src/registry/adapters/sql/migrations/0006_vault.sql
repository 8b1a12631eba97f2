-- Broker credentials, encrypted before they come here. No role of the log may look.
SET LOCAL ROLE vault_owner;

CREATE TABLE vault.data_keys (
    stream_id     uuid PRIMARY KEY,
    master_key_id bytea NOT NULL CHECK (octet_length(master_key_id) = 8),
    wrapped_key   bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE vault.secrets (
    secret_id  uuid PRIMARY KEY,
    stream_id  uuid NOT NULL REFERENCES vault.data_keys ON DELETE CASCADE,
    field      text NOT NULL,
    sealed     bytea NOT NULL,  -- nonce (12 bytes), ciphertext, tag (16 bytes)
    used       boolean NOT NULL DEFAULT false,  -- false: pending, no event is known to name it
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX secrets_by_age ON vault.secrets (created_at, secret_id);
CREATE INDEX secrets_by_stream ON vault.secrets (stream_id);

GRANT USAGE ON SCHEMA vault TO vault_app;
GRANT SELECT, INSERT, DELETE ON vault.data_keys, vault.secrets TO vault_app;
GRANT UPDATE (used) ON vault.secrets TO vault_app;
