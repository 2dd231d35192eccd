// What the tabs of one browser tell each other, so that they share one session: a refresh token is good for one use, and a tab
// that spent it alone would sign the others out.

/** Milliseconds for which a tab waits for what the others know. They answer in a few, or not at all. */
const ANSWER_WITHIN = 150;

/** Talks to the other tabs. `login()` is what this tab would tell; `onLogin` and `onEnded` hear of the others. */
export class Tabs {
  #channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("session") : null;
  #asking = null;

  constructor({ login, onLogin, onEnded }) {
    this.#channel?.addEventListener("message", ({ data }) => {
      if (data.type === "ask" && login()) {
        this.tell(login());
      } else if (data.type === "login") {
        onLogin(data.login);
        this.#asking?.(data.login);
      } else if (data.type === "ended") {
        onEnded(data.sid);
      }
    });
  }

  /** Tells the others how the session goes on. */
  tell(login) {
    this.#channel?.postMessage({ type: "login", login });
  }

  /** Tells the others that it is over. */
  end(sid) {
    this.#channel?.postMessage({ type: "ended", sid });
  }

  /** Asks the others for a session, and waits a moment for an answer that has been heard by `onLogin`. */
  async ask() {
    if (!this.#channel) {
      return;
    }
    await new Promise((resolve) => {
      this.#asking = resolve;
      this.#channel.postMessage({ type: "ask" });
      setTimeout(resolve, ANSWER_WITHIN);
    });
    this.#asking = null;
  }
}

/** Does `work` in one tab at a time, where the browser offers that: over https, and on the own machine. */
export function oneTabAtATime(work) {
  return navigator.locks ? navigator.locks.request("renewal", work) : work();
}

/** So many tabs may hold a connection open at once: of the six that a browser has for a server, some are for short requests. */
const PLACES = 4;

/** Takes one of the places for a connection that stays open, until `ending`. Throws if all are taken. */
export async function place(ending) {
  if (!navigator.locks) return;
  for (let number = 0; number < PLACES; number += 1) {
    const isTaken = await new Promise((resolve, reject) => {
      const kept = (lock) => {
        resolve(lock !== null);
        return lock && new Promise((leave) => (ending.aborted ? leave() : ending.addEventListener("abort", leave)));
      };
      navigator.locks.request(`live-${number}`, { ifAvailable: true }, kept).catch(reject);
    });
    if (isTaken) return;
  }
  throw new Error("all places are taken");
}
