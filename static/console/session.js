// The session of the console. Tokens live in memory. The tab's own storage keeps the refresh token, or the room of a guest,
// over a reload.

import { Problem, ask, malformed } from "./http.js";
import { Tabs, runExclusively } from "./tabs.js";

const REFRESH_TOKEN = "refreshToken";
const GUEST_OF = "guestOf";

/** A token is renewed this many milliseconds before its end, or when a quarter of its life is left. */
const MARGIN = 60_000;

/** The session. Fires `change` on login and logout. */
export class Session extends EventTarget {
  /** `{token, renewAt, expiresAt, sid, issuedAt, refreshToken, user}` of a user, `{token, …, room}` of a guest, or `null`. */
  #login = null;
  #renewing = null;
  #tabs = new Tabs({
    login: () => (this.isUser ? this.#login : null),
    onLogin: (login) => this.#adopt(login),
    onEnded: (sid) => this.isUser && this.#login.sid === sid && this.#leave("You signed out in another tab."),
  });

  /** Why the session ended, for the user; or empty. */
  notice = "";

  get isUser() {
    return Boolean(this.#login?.user);
  }

  /** The account's name, or its address where it has none. */
  get userName() {
    return this.#login?.user?.name || this.#login?.user?.email || "";
  }

  /** The room that a guest may see; `null` for a user. */
  get guestOf() {
    return this.#login?.room ?? null;
  }

  get isThere() {
    return this.#login !== null;
  }

  /** The access token, to be copied by the user. */
  get token() {
    return this.#login?.token ?? "";
  }

  /** Restores the session after a reload, or from another tab. `room` is the room in the address. */
  async resume(room) {
    await this.#tabs.requestLogin();
    const refreshToken = sessionStorage.getItem(REFRESH_TOKEN);
    if (this.isThere) {
      return;
    }
    if (refreshToken) {
      await this.#refresh(refreshToken);
    } else if (room !== null && sessionStorage.getItem(GUEST_OF) === room) {
      await this.enterAsGuest(room);
    }
  }

  async signIn(email, password) {
    const { data } = await ask({ method: "POST", path: "/auth/login", body: { email, password } });
    this.#enter(userLogin(data));
    this.#tabs.publishLogin(this.#login);
  }

  async enterAsGuest(room) {
    const { data } = await ask({ path: `/auth/joinmember?roomName=${encodeURIComponent(room)}` });
    this.#enter(guestLogin(data, room));
  }

  /** Signs out here at once, and at the server if it can be reached. */
  async signOut() {
    const login = this.#login;
    this.#leave("");
    if (login?.user) {
      this.#tabs.publishEnd(login.sid);
      await ask({ method: "POST", path: "/auth/logout", body: { refreshToken: login.refreshToken } }).catch(() => {
        this.notice = "You are signed out. The server can’t be reached, so the session there ends when it expires.";
        this.#changed();
      });
    }
  }

  /** Sends a request with the token. Renews the token before it expires, and once after a 401. */
  async ask(call) {
    if (!this.#login) {
      throw new Problem("unauthorized", "You are not signed in.");
    }
    if (Date.now() >= this.#login.renewAt) {
      await this.#renew(this.#login.token).catch((problem) => {
        // A failed renewal does not matter while the old token is valid.
        if (!this.#login || Date.now() >= this.#login.expiresAt) throw problem;
      });
    }
    const token = this.#login?.token;
    try {
      return await ask({ ...call, token });
    } catch (problem) {
      if (problem.kind !== "unauthorized" || !this.#login) {
        throw problem;
      }
    }
    await this.#renew(token);
    return ask({ ...call, token: this.#login?.token });
  }

  /** Replaces the token `spent`, once for all concurrent requests. */
  #renew(spent) {
    if (this.#login && this.#login.token !== spent) {
      return Promise.resolve();
    }
    this.#renewing ??= this.#renewed(spent).finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #renewed(spent) {
    if (this.guestOf !== null) {
      return this.enterAsGuest(this.guestOf);
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
      const { data } = await ask({ method: "POST", path: "/auth/refresh", body: { refreshToken } });
      this.#enter(userLogin(data));
      this.#tabs.publishLogin(this.#login);
    } catch (problem) {
      if (problem.kind === "unauthorized") {
        this.#leave("Your session has ended. Please sign in again.");
      }
      throw problem;
    }
  }

  /** Adopts the session of another tab if it is newer than this one, or if there is none here. */
  #adopt(login) {
    const further = this.isUser && login.sid === this.#login.sid && login.issuedAt >= this.#login.issuedAt;
    if (!this.isThere || further) {
      this.#enter(login);
    }
  }

  #enter(login) {
    const principal = this.#login && (this.#login.user?.id ?? this.#login.room);
    this.#login = login;
    this.notice = "";
    sessionStorage.removeItem(login.user ? GUEST_OF : REFRESH_TOKEN);
    sessionStorage.setItem(login.user ? REFRESH_TOKEN : GUEST_OF, login.user ? login.refreshToken : login.room);
    if (principal !== (login.user?.id ?? login.room)) {
      this.#changed();
    }
  }

  #leave(notice) {
    this.#login = null;
    this.notice = notice;
    sessionStorage.removeItem(REFRESH_TOKEN);
    sessionStorage.removeItem(GUEST_OF);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function userLogin(data) {
  const { token, refreshToken, user } = data ?? {};
  if (![token, refreshToken, user?.id].every(isText)) throw malformed();
  const { id, name, email } = user;
  return { token, refreshToken, user: { id, name: textOf(name), email: textOf(email) }, ...life(token) };
}

function guestLogin(token, room) {
  if (!isText(token)) throw malformed();
  return { token, room, ...life(token) };
}

function isText(value) {
  return typeof value === "string" && value !== "";
}

function textOf(value) {
  return isText(value) ? value : "";
}

/** When to renew a token, by its own claims and this machine's clock: how long it lives, not until when. */
function life(token) {
  const { iat, exp, sid } = claims(token);
  const lifetime = Number.isFinite(iat) && Number.isFinite(exp) ? (exp - iat) * 1000 : Infinity;
  const now = Date.now();
  const issuedAt = Number.isFinite(iat) ? iat : 0;
  return { renewAt: now + lifetime - Math.min(MARGIN, lifetime / 4), expiresAt: now + lifetime, issuedAt, sid: textOf(sid) };
}

function claims(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(payload)) ?? {};
  } catch {
    return {};
  }
}
