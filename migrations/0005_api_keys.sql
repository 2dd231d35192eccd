-- Keys of the team's own backend. Times are milliseconds since 1970-01-01 UTC.

CREATE TABLE api_keys (
    -- The key's SHA-256; the key itself is with the backend alone.
    hash         TEXT   NOT NULL PRIMARY KEY,
    -- Not unique: a key and its successor may have one name.
    name         TEXT   NOT NULL,
    -- The routes that it opens: 'invitations'.
    scope        TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    -- NULL for never.
    expires_at   BIGINT,
    -- NULL while the key is good.
    revoked_at   BIGINT,
    -- The beginning of the day of the last use; NULL before the first.
    last_used_at BIGINT
);
