// The entry point: shows the view for the session and the URL.

import { announce } from "./dom.js";
import { bindDrawer } from "./drawer.js";
import { homeView } from "./home.js";
import { roomUrl } from "./http.js";
import { resumingView } from "./notice.js";
import { roomView } from "./room.js";
import { Session } from "./session.js";
import { signInView } from "./sign-in.js";

const main = document.getElementById("main");
const userName = document.getElementById("user-name");
const signOut = document.getElementById("sign-out");

const session = new Session();
/** The current view: `{root, title, stop}`, and an optional `notice` that is announced before the title. */
let view = null;

/** Returns the room in the URL, as in `/?room=R`; `null` if there is none. */
function roomInUrl() {
  const name = new URLSearchParams(location.search).get("room");
  return name === null || name.trim() === "" ? null : name;
}

/** Opens another view of this page, with an entry in the history. */
function navigate(address) {
  history.pushState(null, "", address);
  route();
}

const navigation = {
  room: (name) => navigate(roomUrl(name)),
};

/** Shows the view for the URL and the session. The first one (`start`) takes no focus. */
function route(start = false) {
  // The room of the URL is no invitation to the user who has left it.
  if (session.hasSignedOut) history.replaceState(null, "", "/");
  const name = roomInUrl();
  if (!session.isActive) {
    showView(signInView(session, name), start);
  } else if (name !== null) {
    showView(roomView(session, name, navigation), start);
  } else if (session.isUser) {
    showView(homeView(session, navigation), start);
  } else {
    history.replaceState(null, "", roomUrl(session.guestRoom));
    route(start);
    return;
  }
  userName.hidden = signOut.hidden = !session.isActive;
  userName.textContent = session.isUser ? session.userName : "Guest";
  signOut.textContent = session.isUser ? "Sign out" : "Leave";
}

function showView(next, start) {
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
  const link = event.target instanceof Element ? event.target.closest("a[data-internal]") : null;
  if (link && event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey) {
    event.preventDefault();
    navigate(link.getAttribute("href"));
  }
});

addEventListener("popstate", () => route());
/** Whether the session is being restored for the first time. */
let isStarting = true;
session.addEventListener("change", () => isStarting || route());
signOut.addEventListener("click", () => session.signOut());
bindDrawer(session);

showView(resumingView(), true);
session
  .resume(roomInUrl())
  .catch((problem) => problem.isRetryable)
  .then((isUnreachable) => {
    isStarting = false;
    if (isUnreachable) showView(resumingView(session, roomInUrl, route), true);
    else route(true);
  });
