-- The log and what guards it. docs/events.md explains each table.
SET LOCAL ROLE log_owner;

-- One row. Every append locks it first, so positions are dense and follow commit order.
CREATE TABLE log.head (
    id         smallint PRIMARY KEY CHECK (id = 1),
    position   bigint NOT NULL CHECK (position >= 0),
    hash       bytea NOT NULL CHECK (octet_length(hash) = 32),
    time       timestamptz NOT NULL,
    covered_to bigint NOT NULL  -- last position that a partition exists for
) WITH (fillfactor = 50);
INSERT INTO log.head VALUES (1, 0, decode(repeat('00', 32), 'hex'), 'epoch', 0);

CREATE TABLE log.event_types (
    id   smallint PRIMARY KEY,
    name text NOT NULL UNIQUE  -- the versioned stored name, such as flow.enabled.v1
);

CREATE TABLE log.events (
    position  bigint NOT NULL,  -- in the whole log, dense from 1
    stream_id uuid NOT NULL,
    version   int NOT NULL CHECK (version > 0),  -- in its stream, dense from 1
    type      smallint NOT NULL,
    time      timestamptz NOT NULL,
    data      bytea NOT NULL,  -- protobuf eventflows.events.v1.Event
    metadata  bytea NOT NULL,  -- protobuf eventflows.events.v1.Metadata
    PRIMARY KEY (position)
) PARTITION BY RANGE (position);

-- The authority on stream versions: an index over (stream_id, version) cannot span the partitions.
CREATE TABLE log.streams (
    stream_id      uuid PRIMARY KEY,
    category       text NOT NULL,
    version        int NOT NULL,
    first_position bigint NOT NULL,
    last_position  bigint NOT NULL
) WITH (fillfactor = 70);

-- Commands that were carried out, kept for 7 days, so that a repeated one gets its first answer.
CREATE TABLE log.commands (
    command_id   uuid PRIMARY KEY,
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    version      int NOT NULL,
    position     bigint NOT NULL,
    event_count  int NOT NULL,  -- 0: the state was already as asked
    time         timestamptz NOT NULL
);
CREATE INDEX commands_by_time ON log.commands (time);

-- Unique names of the whole log.
CREATE TABLE log.claims (
    name      text PRIMARY KEY,
    stream_id uuid NOT NULL
);

-- One link of the hash chain a batch.
CREATE TABLE log.seals (
    last_position  bigint PRIMARY KEY,
    first_position bigint NOT NULL,
    hash           bytea NOT NULL CHECK (octet_length(hash) = 32),
    time           timestamptz NOT NULL UNIQUE,
    CHECK (first_position <= last_position)
);
