// A room: its status, its catch-up, and its guest link.

import { CatchUp } from "./catch-up.js";
import { announce, bindCopyButton, element, fromTemplate, setText, show } from "./dom.js";
import { featuresPanel } from "./features.js";
import { formatAge, formatTime } from "./format.js";
import { bindOpenRoom } from "./home.js";
import { roomUrl } from "./http.js";
import { bindInvite } from "./invitation.js";
import { render } from "./markdown.js";
import { NewTextButton } from "./new-text.js";
import { bindProblem } from "./notice.js";
import { addRecentRoom } from "./recent-rooms.js";
import { settings } from "./settings.js";
import { summaryPanel } from "./summary.js";

/** Messages for the result of the last read. */
const OUTCOMES = { first: "", same: "No changes.", grown: "New text added.", rewritten: "The text was rewritten." };

/** The name of the badge for each mode of updates. */
const MODES = { off: "Not live", connecting: "Connecting…", stream: "Live", polling: "Every 15 seconds" };

/** Whether rooms are updated automatically. The choice applies to all rooms until the page is closed. */
let isLive = true;

/** Returns the view of the room `name`. */
export function roomView(session, name, navigation) {
  if (session.guestRoom !== null && session.guestRoom !== name) {
    return otherRoomView(session, name, navigation);
  }
  const { root, parts } = fromTemplate("view-room");
  const catchUp = new CatchUp(session, name);
  const features = featuresPanel(session);
  const newText = new NewTextButton(parts.newText, parts.text, () => catchUp.markSeen());
  const context = { parts, catchUp, session, name, newText, summary: null, reason: null };

  setText(parts.name, name);
  show(parts.back, session.isUser);
  parts.sidebar.append(features.root);
  setText(parts.link, location.origin + roomUrl(name));
  bindCopyButton(parts.copyLink, () => parts.link.textContent, () => parts.link);
  settings().then(({ guestLinks }) => {
    if (guestLinks) return;
    setText(parts.linkTitle, "Link");
    setText(parts.linkHint, "Users can read this room with this link.");
  });
  const stopInvite = bindInvite(session, name, parts);
  bindOpenRoom(parts.open, navigation);
  parts.live.checked = isLive;
  parts.live.addEventListener("change", () => {
    isLive = parts.live.checked;
    catchUp.setLive(isLive);
    if (isLive) catchUp.refresh();
  });
  parts.refresh.addEventListener("click", () => catchUp.refresh());

  const notice = bindProblem(parts.problem, catchUp.work, (problem) => problemSentence(problem, catchUp));
  let renderedAt = null;
  catchUp.addEventListener("change", () => {
    notice();
    updateStatus(context);
    if (catchUp.work.succeededAt !== renderedAt) {
      renderedAt = catchUp.work.succeededAt;
      renderResult(context);
    }
  });
  catchUp.setLive(isLive);
  catchUp.refresh();

  const stop = () => {
    stopInvite();
    [catchUp, features, newText, context.summary].forEach((part) => part?.stop());
  };
  return { root, title: name, stop };
}

/** Updates what changes with time: the age, the buttons, the badges. */
function updateStatus({ parts, catchUp }) {
  const { work } = catchUp;
  badge(parts.transcription, "Transcription", catchUp.status.transcription, work);
  badge(parts.recording, "Recording", catchUp.status.recording, work);
  setText(parts.mode, MODES[catchUp.mode]);
  parts.mode.classList.toggle("on", catchUp.mode === "stream");
  show(parts.loading, catchUp.text === null && !work.problem);
  parts.refresh.setAttribute("aria-disabled", String(work.isRunning));
  setText(parts.refresh, work.isRunning ? "Loading…" : "Refresh");
  if (catchUp.text === null) {
    return;
  }
  const age = (Date.now() - catchUp.asOf) / 1000;
  setText(parts.age, `As of ${formatTime(catchUp.asOf)}, ${formatAge(age)}.`);
  // The current problem comes first.
  show(parts.stale, catchUp.isStale && catchUp.text !== "" && !work.problem);
  // The result of an earlier read is out of date after a failure.
  show(parts.outcome, !work.problem && !catchUp.isStale);
  show(parts.badges, !["meeting-ended", "unknown-room"].includes(catchUp.reason));
  setText(
    parts.stale,
    `Showing the version from ${formatTime(catchUp.asOf)}. The server could not get a newer one.`,
  );
}

/** Renders the result of a read. */
function renderResult(context) {
  const { parts, catchUp } = context;
  const { outcome } = catchUp;
  setText(parts.outcome, catchUp.text === "" ? "" : OUTCOMES[outcome]);
  if (outcome === "same" && context.reason === catchUp.reason) {
    return;
  }
  context.reason = catchUp.reason;
  if (context.session.isUser && catchUp.reason !== "unknown-room") addRecentRoom(context.name);
  render(parts.text, catchUp.text, catchUp.knownLength);
  show(parts.text, catchUp.text !== "");
  show(parts.empty, catchUp.text === "");
  parts.empty.replaceChildren(...(catchUp.text === "" ? emptyState(context) : []));
  context.newText.update(catchUp.unseen);
  if (outcome === "grown") {
    announce(`New: ${catchUp.text.slice(catchUp.changedAt, catchUp.changedAt + 300)}`);
  }
}

/** Explains why there is no text, and what to do. */
function emptyState(context) {
  const message = (title, sentence, ...more) => [element("h3", {}, title), element("p", {}, sentence), ...more];
  switch (context.catchUp.reason) {
    case "transcription-off":
      return message(
        "Transcription is off",
        "This call is not transcribed, so there is no catch-up. A participant can turn transcription on.",
      );
    case "meeting-ended":
      return message(
        "This meeting has ended",
        "The catch-up is no longer available. The summary has the results.",
        element("button", { type: "button", class: "primary", onclick: () => readSummary(context) }, "Read the summary"),
      );
    case "unknown-room":
      return message(
        "No call in this room",
        "The call has not started, or has ended, or the name is misspelled. Names are case-sensitive.",
        element("button", { type: "button", onclick: () => readSummary(context) }, "Look for a summary"),
      );
    default:
      return message("Nothing has been said yet", "The catch-up appears here once there is something to read.");
  }
}

function readSummary(context) {
  context.summary?.stop();
  context.summary = summaryPanel(context.session, context.name);
  context.parts.summary.replaceChildren(context.summary.root);
  show(context.parts.summaryCard, true);
  context.parts.summaryCard.querySelector("h2").focus();
}

function badge(part, name, value, work) {
  const known = value === null ? (work.isRunning ? "…" : " unknown") : value ? " on" : " off";
  setText(part, `${name}${known}`);
  part.classList.toggle("on", value === true);
  part.classList.toggle("off", value === false);
}

function problemSentence(problem, catchUp) {
  if (problem.kind === "invalid") return problem.message;
  if (problem.kind === "forbidden") return "You do not have access to this room.";
  const shown = catchUp.text ? ` Showing the version from ${formatTime(catchUp.asOf)}.` : "";
  return `The catch-up could not be loaded. ${problem.message}${shown}`;
}

/** Returns the view of a guest who opens another room. */
function otherRoomView(session, name, navigation) {
  const { root, parts } = fromTemplate("view-message");
  parts.title.append("You are a guest in ", element("bdi", {}, session.guestRoom));
  const error = element("p", { class: "error", role: "alert" });
  parts.message.append(
    element("p", {}, "Guests can see one room at a time. This link is for ", element("bdi", {}, name), "."),
    error,
  );
  const enter = () => session.enterAsGuest(name).catch((problem) => setText(error, problem.message));
  const current = session.guestRoom;
  parts.actions.append(
    element("button", { type: "button", class: "primary", onclick: enter }, "Join that room"),
    element("button", { type: "button", onclick: () => navigation.room(current) }, "Stay here"),
    element("button", { type: "button", class: "plain", onclick: () => session.signOut() }, "Sign in with an account"),
  );
  return { root, title: "Guest of another room", stop() {} };
}
