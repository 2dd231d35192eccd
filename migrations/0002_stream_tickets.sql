-- Tickets that opened a stream: each works once. What is not here was not used yet, or has expired.

CREATE TABLE stream_tickets (
    -- The ticket's jti; the ticket itself is with the client alone.
    id         TEXT   NOT NULL PRIMARY KEY,
    -- Milliseconds since 1970-01-01 UTC.
    expires_at BIGINT NOT NULL
);

CREATE INDEX stream_tickets_expires_at ON stream_tickets (expires_at);
