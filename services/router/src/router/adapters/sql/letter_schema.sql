-- The index over the internal topic `dead-letters`, made by the worker that comes first.
-- The name of the schema carries the version of the fold (router/domain/dead_letter_mark.py): another
-- fold gets another schema, reads the topic from its beginning, and disturbs no worker of the old build.

CREATE SCHEMA IF NOT EXISTS dead_letters_v2;

-- How far each partition was read; moves in the same transaction as the letters.
CREATE TABLE IF NOT EXISTS dead_letters_v2.positions (
    partition integer PRIMARY KEY CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    last_ms bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS dead_letters_v2.letters (
    partition integer NOT NULL CHECK (partition >= 0),
    letter_offset bigint NOT NULL CHECK (letter_offset >= 0),
    flow_id text NOT NULL CHECK (flow_id <> ''),
    algorithm text NOT NULL,
    version text NOT NULL,
    topic text COLLATE "C" NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    record_time_ms bigint NOT NULL,
    record_key bytea,
    key_hash bytea NOT NULL,
    value_bytes bigint NOT NULL,
    failure text NOT NULL,
    reason text NOT NULL,
    error_type text NOT NULL,
    error text NOT NULL,
    attempts integer NOT NULL,
    first_time timestamptz NOT NULL,
    given_up_time timestamptz NOT NULL,
    request_id text NOT NULL,
    generation integer NOT NULL,
    born_in_task text NOT NULL,
    written_ms bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'redriven', 'died_again', 'purged')),
    state_time timestamptz,
    task_id text NOT NULL,
    PRIMARY KEY (partition, letter_offset),
    CHECK ((state = 'open') = (state_time IS NULL))
);

-- What has become of letters in flows' own topics, which have no row above: their first marks.
-- `partition` is the one of the internal topic in which the mark stands.
CREATE TABLE IF NOT EXISTS dead_letters_v2.own_marks (
    flow_id text NOT NULL CHECK (flow_id <> ''),
    letter_topic text COLLATE "C" NOT NULL CHECK (letter_topic <> ''),
    letter_partition integer NOT NULL CHECK (letter_partition >= 0),
    letter_offset bigint NOT NULL CHECK (letter_offset >= 0),
    written_ms bigint NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    state text NOT NULL CHECK (state IN ('redriven', 'died_again', 'purged')),
    state_time timestamptz NOT NULL,
    task_id text NOT NULL,
    PRIMARY KEY (flow_id, letter_topic, letter_partition, letter_offset, written_ms)
);

CREATE INDEX IF NOT EXISTS own_marks_by_task ON dead_letters_v2.own_marks (task_id);
CREATE INDEX IF NOT EXISTS own_marks_by_age
    ON dead_letters_v2.own_marks (partition, state_time);

CREATE INDEX IF NOT EXISTS letters_of_flow_by_time
    ON dead_letters_v2.letters (flow_id, given_up_time DESC, partition DESC, letter_offset DESC);
CREATE INDEX IF NOT EXISTS letters_by_time
    ON dead_letters_v2.letters (given_up_time DESC, partition DESC, letter_offset DESC);
CREATE INDEX IF NOT EXISTS letters_by_source
    ON dead_letters_v2.letters
    (flow_id, topic, source_partition, source_offset, partition, letter_offset);
CREATE INDEX IF NOT EXISTS letters_by_key ON dead_letters_v2.letters (key_hash);
CREATE INDEX IF NOT EXISTS letters_by_task ON dead_letters_v2.letters (task_id) WHERE task_id <> '';
CREATE INDEX IF NOT EXISTS letters_by_age ON dead_letters_v2.letters (partition, written_ms);
CREATE INDEX IF NOT EXISTS open_letters
    ON dead_letters_v2.letters (partition, flow_id, given_up_time) WHERE state = 'open';
