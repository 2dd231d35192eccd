-- Sessions of deleted accounts, whose tokens may not have expired yet.

CREATE TABLE deleted_sessions (
    -- The sid of the session's user tokens.
    id         TEXT   NOT NULL PRIMARY KEY,
    -- Milliseconds since 1970-01-01 UTC.
    deleted_at BIGINT NOT NULL
);

-- Each server asks every half second which sessions were deleted lately.
CREATE INDEX deleted_sessions_deleted_at ON deleted_sessions (deleted_at);
