// The entry point: session and address decide which view is shown.

import { announce } from "./dom.js";
import { drawer } from "./drawer.js";
import { entry } from "./entry.js";
import { home } from "./home.js";
import { room } from "./room.js";
import { Session } from "./session.js";
import { resuming } from "./stopped.js";

const main = document.getElementById("main");
const userName = document.getElementById("who");
const signOut = document.getElementById("sign-out");

const session = new Session();
/** The view that is shown: `{root, title, stop}`, and a `notice` if something is to be said before the title. */
let view = null;

/** The room in the address, as in `/?room=R`; `null` if there is none. */
function roomInAddress() {
  const name = new URLSearchParams(location.search).get("room");
  return name === null || name.trim() === "" ? null : name;
}

/** Goes to another view of this page, and leaves a step back to this one. */
function go(address) {
  history.pushState(null, "", address);
  route();
}

/** The address of a room, or of the start. */
function addressOf(name) {
  return name === null ? "/" : `/?room=${encodeURIComponent(name)}`;
}

const to = {
  start: () => go(addressOf(null)),
  room: (name) => go(addressOf(name)),
};

/** Shows what the address and the session ask for. `start` is true for the first view, which takes no focus. */
function route(start = false) {
  const name = roomInAddress();
  if (!session.isThere) {
    put(entry(session, name), start);
  } else if (name !== null) {
    put(room(session, name, to), start);
  } else if (session.isUser) {
    put(home(session, to), start);
  } else {
    history.replaceState(null, "", addressOf(session.guestOf));
    route(start);
    return;
  }
  userName.hidden = signOut.hidden = !session.isThere;
  userName.textContent = session.isUser ? session.userName : "Guest";
  signOut.textContent = session.isUser ? "Sign out" : "Leave";
}

function put(next, start) {
  view?.stop();
  view = next;
  main.replaceChildren(next.root);
  document.title = `${next.title} – ProCONF console`;
  scrollTo(0, 0);
  if (!start) {
    main.querySelector("h1")?.focus();
    announce([next.notice, next.title].filter(Boolean).join(" "));
  }
}

/** Links within the page change the view and load nothing. */
document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("a[data-here]") : null;
  if (link && event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey) {
    event.preventDefault();
    go(link.getAttribute("href"));
  }
});

addEventListener("popstate", () => route());
session.addEventListener("change", () => route());
signOut.addEventListener("click", () => session.signOut());
drawer(session);

put(resuming(), true);
session.resume(roomInAddress()).then(
  () => route(true),
  (problem) => (problem.passes ? put(resuming(session, roomInAddress, route), true) : route(true)),
);
