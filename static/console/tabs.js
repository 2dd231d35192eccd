// Shares one session between the tabs of a browser: a refresh token works once, so a tab that used it alone would sign out the
// others.

/** Milliseconds that a tab waits for a reply. Open tabs reply within a few. */
const REPLY_TIMEOUT = 150;

/** A channel to the other tabs. `login()` returns this tab's session; `onLogin` and `onEnded` receive those of the others. */
export class Tabs {
  #channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("session") : null;
  #onReply = null;

  constructor({ login, onLogin, onEnded }) {
    this.#channel?.addEventListener("message", ({ data }) => {
      if (data.type === "ask" && login()) {
        this.publishLogin(login());
      } else if (data.type === "login") {
        onLogin(data.login);
        this.#onReply?.(data.login);
      } else if (data.type === "ended") {
        onEnded(data.sid);
      }
    });
  }

  /** Sends the new state of the session to the other tabs. */
  publishLogin(login) {
    this.#channel?.postMessage({ type: "login", login });
  }

  /** Tells the other tabs that the session has ended. */
  publishEnd(sid) {
    this.#channel?.postMessage({ type: "ended", sid });
  }

  /** Requests the session of another tab, and waits for the reply, which `onLogin` receives. */
  async requestLogin() {
    if (!this.#channel) {
      return;
    }
    await new Promise((resolve) => {
      this.#onReply = resolve;
      this.#channel.postMessage({ type: "ask" });
      setTimeout(resolve, REPLY_TIMEOUT);
    });
    this.#onReply = null;
  }
}

/** Runs `work` in one tab at a time, if the browser has locks: over https, and on localhost. */
export function runExclusively(work) {
  return navigator.locks ? navigator.locks.request("renewal", work) : work();
}

/** The maximum number of open streams. A browser has six connections to a server, and needs some for short requests. */
const MAX_STREAMS = 4;

/** Acquires a slot for a stream until `closing` is aborted. Throws if all are in use. */
export async function acquireStreamSlot(closing) {
  if (!navigator.locks) return;
  for (let number = 0; number < MAX_STREAMS; number += 1) {
    const isAcquired = await new Promise((resolve, reject) => {
      const onLock = (lock) => {
        resolve(lock !== null);
        return lock && new Promise((release) => (closing.aborted ? release() : closing.addEventListener("abort", release)));
      };
      navigator.locks.request(`live-${number}`, { ifAvailable: true }, onLock).catch(reject);
    });
    if (isAcquired) return;
  }
  throw new Error("all stream slots are in use");
}
