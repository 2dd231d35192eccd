-- Accounts and their sessions. One set for SQLite and PostgreSQL: TEXT and BIGINT only, identifiers and times made by us.
-- Times are whole seconds since 1970-01-01 UTC.

CREATE TABLE users (
    id            TEXT   NOT NULL PRIMARY KEY,
    -- In lower case: one mailbox, one account.
    email         TEXT   NOT NULL UNIQUE,
    name          TEXT   NOT NULL,
    -- An argon2id PHC string, with its parameters and salt.
    password_hash TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    -- NULL while the account may sign in.
    disabled_at   BIGINT
);

-- One row a sign-in: the family of refresh tokens that descend from it, and the sid of its user tokens.
CREATE TABLE sessions (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- NULL while the session is good.
    revoked_at BIGINT
);

CREATE TABLE refresh_tokens (
    -- The token's SHA-256; the token itself is with the client alone.
    hash       TEXT   NOT NULL PRIMARY KEY,
    session_id TEXT   NOT NULL REFERENCES sessions (id),
    created_at BIGINT NOT NULL,
    -- NULL until it has been exchanged for its successor.
    spent_at   BIGINT
);

CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id);
