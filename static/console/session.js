// The session. Tokens are in memory only. For a reload, the tab's storage keeps the refresh token, or the room of a guest and
// the token of an invited one: its invitation may be used up.

import { Problem, malformed, send } from "./http.js";
import { clearRecentRooms } from "./recent-rooms.js";
import { clearRequests } from "./requests.js";
import { Tabs, runExclusively } from "./tabs.js";

const REFRESH_TOKEN = "refreshToken";
const GUEST_ROOM = "guestRoom";
const GUEST_TOKEN = "guestToken";

/** A token is renewed this many milliseconds before it expires, or when a quarter of its lifetime is left. */
const MARGIN = 60_000;

/** The timeout of a refresh in milliseconds. All repeats end before the 30 seconds in which a spent refresh token works. */
const REFRESH_TIMEOUT = 4_000;
/** The maximum number of repeats of a refresh without a response. */
const MAX_REFRESH_REPEATS = 2;

/** The session. Fires `change` on login and logout. */
export class Session extends EventTarget {
  /**
   * `{token, renewAt, expiresAt, sid, issuedAt, refreshToken, user}` of a user, `{token, …, room, isInvited}` of a guest, or
   * `null`. With a token of an identity provider there is no refresh token, and other tabs do not get the session.
   */
  #login = null;
  #renewing = null;
  #tabs = new Tabs({
    login: () => (this.#login?.refreshToken ? this.#login : null),
    onLogin: (login) => this.#adopt(login),
    onEnded: (sid) => {
      if (this.isUser && this.#login.sid === sid) {
        this.hasSignedOut = true;
        this.#end("You signed out in another tab.");
      }
    },
  });

  /** Why the session ended, as a message for the user; or empty. */
  notice = "";
  /** Whether the user has signed out, here or in another tab. */
  hasSignedOut = false;

  get isUser() {
    return Boolean(this.#login?.user);
  }

  /** The account's name, or its e-mail address. */
  get userName() {
    return this.#login?.user?.name || this.#login?.user?.email || "";
  }

  /** The room that a guest may see; `null` for a user. */
  get guestRoom() {
    return this.#login?.room ?? null;
  }

  get isActive() {
    return this.#login !== null;
  }

  /** The access token, to be copied by the user. */
  get token() {
    return this.#login?.token ?? "";
  }

  /** Restores the session after a reload, or from another tab. `room` is the room in the URL. */
  async resume(room) {
    // Without a refresh token, the session in which they were read cannot be restored.
    if (!sessionStorage.getItem(REFRESH_TOKEN)) clearRecentRooms();
    await this.#tabs.requestLogin();
    const refreshToken = sessionStorage.getItem(REFRESH_TOKEN);
    if (this.isActive) {
      return;
    }
    if (refreshToken) {
      await this.#refresh(refreshToken);
    } else if (room !== null && sessionStorage.getItem(GUEST_ROOM) === room) {
      const token = sessionStorage.getItem(GUEST_TOKEN);
      await (token ? this.#start(guestLogin(token, room, true)) : this.#join(room, null));
    }
  }

  async signIn(email, password) {
    const { data } = await send({ method: "POST", path: "/auth/login", body: { email, password } });
    this.#start(userLogin(data));
    this.#tabs.publishLogin(this.#login);
  }

  /** Enters a room, with the invitation in the URL if there is one. */
  async enterAsGuest(room) {
    await this.#join(room, invitationInUrl());
    removeInvitationFromUrl();
  }

  async #join(room, invitation) {
    const query = invitation ? `&invitation=${encodeURIComponent(invitation)}` : "";
    const { data } = await send({ path: `/auth/joinmember?roomName=${encodeURIComponent(room)}${query}` });
    this.#start(guestLogin(data, room, Boolean(invitation)));
  }

  /** Starts a session with an access token of an identity provider, if the server accepts it. */
  async enterWithToken(token) {
    // `fetch` does not send other characters.
    if (!/^[\w.-]+$/.test(token)) throw new Problem("unauthorized", "This is not a token.");
    await send({ path: "/callConfig", token });
    this.#start(providerLogin(token));
  }

  /** Signs out here at once, and at the server if it can be reached. */
  async signOut() {
    const login = this.#login;
    this.hasSignedOut = this.isUser;
    this.#end("");
    if (login?.refreshToken) {
      this.#tabs.publishEnd(login.sid);
      await send({ method: "POST", path: "/auth/logout", body: { refreshToken: login.refreshToken } }).catch(() => {
        this.notice = "You are signed out. The server can’t be reached, so the session there ends when it expires.";
        this.#dispatchChange();
      });
    }
  }

  /** Sends a request with the token. Renews the token before it expires, and once after a 401. */
  async request(call) {
    if (!this.#login) {
      throw new Problem("unauthorized", "You are not signed in.");
    }
    if (Date.now() >= this.#login.renewAt) {
      await this.#renew(this.#login.token).catch((problem) => {
        // A failed renewal does not matter while the old token is valid.
        if (!this.#login || Date.now() >= this.#login.expiresAt) this.#failRenewal(problem);
      });
    }
    const token = this.#login?.token;
    try {
      return await send({ ...call, token });
    } catch (problem) {
      if (problem.kind !== "unauthorized" || !this.#login) {
        throw problem;
      }
    }
    await this.#renew(token).catch((problem) => this.#failRenewal(problem));
    return send({ ...call, token: this.#login?.token });
  }

  /** Ends the session of a guest that may not enter again without an invitation. */
  #failRenewal(problem) {
    if (this.guestRoom !== null && problem.kind === "forbidden") {
      this.#end("Your time as a guest has ended. Open your invitation again, or sign in.");
    }
    throw problem;
  }

  /** Replaces the token `spent`, once for all concurrent requests. */
  #renew(spent) {
    if (this.#login && this.#login.token !== spent) {
      return Promise.resolve();
    }
    this.#renewing ??= this.#renewToken(spent).finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #renewToken(spent) {
    if (this.guestRoom !== null) {
      // Without the invitation: each of its uses may be for another guest.
      return this.#join(this.guestRoom, null);
    }
    if (this.#login && !this.#login.refreshToken) {
      this.#end("Your token has expired. Please sign in again.");
      throw new Problem("unauthorized", "You are not signed in.");
    }
    return runExclusively(async () => {
      // Another tab may have renewed it meanwhile.
      await this.#tabs.requestLogin();
      if (this.#login?.token === spent) {
        await this.#refresh(this.#login.refreshToken);
      }
    });
  }

  async #refresh(refreshToken) {
    try {
      const { data } = await sendRefresh(refreshToken);
      this.#start(userLogin(data));
      this.#tabs.publishLogin(this.#login);
    } catch (problem) {
      if (problem.kind === "unauthorized") {
        this.#end("Your session has ended. Please sign in again.");
      }
      throw problem;
    }
  }

  /** Adopts the session of another tab if it is newer than this one, or if there is none here. */
  #adopt(login) {
    const isNewer = this.isUser && login.sid === this.#login.sid && login.issuedAt >= this.#login.issuedAt;
    if (!this.isActive || isNewer) {
      this.#start(login);
    }
  }

  #start(login) {
    const principal = this.#login && (this.#login.user?.id ?? this.#login.room);
    this.#login = login;
    this.notice = "";
    this.hasSignedOut = false;
    // A user does not need it. A guest takes it in `enterAsGuest`.
    if (login.user) removeInvitationFromUrl();
    sessionStorage.removeItem(REFRESH_TOKEN);
    sessionStorage.removeItem(GUEST_ROOM);
    sessionStorage.removeItem(GUEST_TOKEN);
    if (login.isInvited) sessionStorage.setItem(GUEST_TOKEN, login.token);
    if (login.refreshToken) sessionStorage.setItem(REFRESH_TOKEN, login.refreshToken);
    if (login.room !== undefined) sessionStorage.setItem(GUEST_ROOM, login.room);
    if (principal !== (login.user?.id ?? login.room)) {
      this.#dispatchChange();
    }
  }

  #end(notice) {
    this.#login = null;
    this.notice = notice;
    sessionStorage.removeItem(REFRESH_TOKEN);
    sessionStorage.removeItem(GUEST_ROOM);
    sessionStorage.removeItem(GUEST_TOKEN);
    // The next user of this tab may be another person.
    clearRecentRooms();
    clearRequests();
    this.#dispatchChange();
  }

  #dispatchChange() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Sends a refresh token. Without a response, sends it again: the server may have spent it already. */
async function sendRefresh(refreshToken, repeats = MAX_REFRESH_REPEATS) {
  try {
    return await send({ method: "POST", path: "/auth/refresh", body: { refreshToken }, timeout: REFRESH_TIMEOUT });
  } catch (problem) {
    if (problem.kind !== "unreachable" || repeats === 0) throw problem;
    return sendRefresh(refreshToken, repeats - 1);
  }
}

function userLogin(data) {
  const { token, refreshToken, user } = data ?? {};
  if (![token, refreshToken, user?.id].every(isNonEmptyString)) throw malformed();
  const { id, name, email } = user;
  return { token, refreshToken, user: { id, name: stringOf(name), email: stringOf(email) }, ...lifetimeOf(token) };
}

/** The session of a provider's token, which cannot be renewed here: a 401 ends it. */
function providerLogin(token) {
  const { sub, name, email } = claims(token);
  const user = { id: stringOf(sub), name: stringOf(name), email: stringOf(email) || stringOf(sub) };
  return { token, user, ...lifetimeOf(token), renewAt: Infinity };
}

function guestLogin(token, room, isInvited) {
  if (!isNonEmptyString(token)) throw malformed();
  return { token, room, isInvited, ...lifetimeOf(token) };
}

/** Returns the invitation in the URL, as in `/?room=R#invitation=T`; `null` if there is none. */
function invitationInUrl() {
  return new URLSearchParams(location.hash.slice(1)).get("invitation");
}

/** Removes the invitation from the URL. It must not stay in the history, or be copied with the URL. */
function removeInvitationFromUrl() {
  if (invitationInUrl()) history.replaceState(null, "", location.pathname + location.search);
}

function isNonEmptyString(value) {
  return typeof value === "string" && value !== "";
}

function stringOf(value) {
  return isNonEmptyString(value) ? value : "";
}

/** Returns when to renew a token: by its lifetime, because this machine's clock may be wrong. */
function lifetimeOf(token) {
  const { iat, exp, sid } = claims(token);
  const lifetime = Number.isFinite(iat) && Number.isFinite(exp) ? (exp - iat) * 1000 : Infinity;
  const now = Date.now();
  const issuedAt = Number.isFinite(iat) ? iat : 0;
  return { renewAt: now + lifetime - Math.min(MARGIN, lifetime / 4), expiresAt: now + lifetime, issuedAt, sid: stringOf(sid) };
}

function claims(token) {
  try {
    const payload = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(payload, (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}
