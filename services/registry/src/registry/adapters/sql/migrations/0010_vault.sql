-- Secrets that the log replaced are kept for a while; shredding and the master key leave traces.
-- A registry of the release before goes on working: it knows neither column and takes defaults.
SET LOCAL ROLE vault_owner;

-- How often the log had shredded the stream when this key was made: a key from before the last
-- shredding is destroyed, one from after it is not, whoever comes first.
ALTER TABLE vault.data_keys ADD COLUMN shreddings int NOT NULL DEFAULT 0 CHECK (shreddings >= 0);

-- When the log went on to another secret; 30 days later the row is destroyed.
ALTER TABLE vault.secrets ADD COLUMN superseded_at timestamptz;
ALTER TABLE vault.secrets ADD CONSTRAINT superseded_was_used CHECK (superseded_at IS NULL OR used);

-- One row: the master key in use, by its id, and what it seals for the vault as a whole: the keys of
-- fingerprints and request hashes, which outlive every rotation. Also how a wrong key is noticed.
CREATE TABLE vault.master_key (
    id                 smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    master_key_id      bytea NOT NULL CHECK (octet_length(master_key_id) = 8),
    sealed_digest_keys bytea NOT NULL,
    since              timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT, INSERT, DELETE ON vault.master_key TO vault_app;
GRANT UPDATE (master_key_id, sealed_digest_keys, since) ON vault.master_key TO vault_app;
GRANT UPDATE (master_key_id, wrapped_key) ON vault.data_keys TO vault_app;
GRANT UPDATE (superseded_at) ON vault.secrets TO vault_app;
