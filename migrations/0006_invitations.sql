-- Invitations for guests. One that is not here was revoked, or has expired.

CREATE TABLE invitations (
    -- The sub of the invitation; the invitation itself is with its guests alone.
    id         TEXT   NOT NULL PRIMARY KEY,
    -- The user that made it: the identity provider (nothing for an account), a space and the user's id. Empty for an API key.
    maker      TEXT   NOT NULL,
    -- NULL for any number of guests.
    uses_left  BIGINT,
    -- Milliseconds since 1970-01-01 UTC.
    expires_at BIGINT NOT NULL
);

CREATE INDEX invitations_maker ON invitations (maker);
CREATE INDEX invitations_expires_at ON invitations (expires_at);
