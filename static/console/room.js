// A room: its status, its catch-up, and its guest link.

import { announce, copies, element, fromTemplate, setText, show } from "./dom.js";
import { CatchUp } from "./catch-up.js";
import { opens } from "./home.js";
import { offers } from "./offers.js";
import { problemNotice } from "./stopped.js";
import { summary } from "./summary.js";
import { render } from "./text.js";
import { ago, clockTime } from "./words.js";

/** The result of the last read, in a sentence. */
const OUTCOMES = { first: "", same: "No changes.", grown: "New text added.", rewritten: "The text was rewritten." };

/** Whether rooms are kept up to date: a choice of the user, for as long as the page lives. */
let keeps = false;

/** The view of the room `name`. */
export function room(session, name, to) {
  if (session.guestOf !== null && session.guestOf !== name) {
    return otherRoom(session, name, to);
  }
  const { root, parts } = fromTemplate("view-room");
  const catchUp = new CatchUp(session, name);
  const offered = offers(session);
  const parted = { parts, catchUp, session, name, summary: null, reason: null };

  setText(parts.name, name);
  show(parts.back, session.isUser);
  parts.side.append(offered.root);
  parts.link.value = `${location.origin}/?room=${encodeURIComponent(name)}`;
  copies(parts.copyLink, () => parts.link.value, () => parts.link);
  opens(parts.open, to);
  parts.keep.checked = keeps;
  parts.keep.addEventListener("change", () => {
    keeps = parts.keep.checked;
    catchUp.keepUpToDate(keeps);
    if (keeps) catchUp.refresh();
  });
  parts.refresh.addEventListener("click", () => catchUp.refresh());

  const notice = problemNotice(parts.problem, catchUp.work, (problem) => problemSentence(problem, catchUp));
  let shown = null;
  catchUp.addEventListener("change", () => {
    notice();
    update(parted);
    if (catchUp.work.succeededAt !== shown) {
      shown = catchUp.work.succeededAt;
      arrived(parted);
    }
  });
  catchUp.keepUpToDate(keeps);
  catchUp.refresh();

  const stop = () => [catchUp, offered, parted.summary].forEach((part) => part?.stop());
  return { root, title: name, stop };
}

/** What changes with time: the age, the wait, the badges. */
function update({ parts, catchUp }) {
  const { work } = catchUp;
  badge(parts.transcription, "Transcription", catchUp.status.transcription, work);
  badge(parts.recording, "Recording", catchUp.status.recording, work);
  show(parts.loading, catchUp.text === null && !work.problem);
  parts.refresh.setAttribute("aria-disabled", String(work.isRunning));
  setText(parts.refresh, work.isRunning ? "Loading …" : "Refresh");
  if (catchUp.text === null) {
    return;
  }
  const age = (Date.now() - catchUp.asOf) / 1000;
  setText(parts.age, `As of ${clockTime(catchUp.asOf)}, ${ago(age)}.`);
  // The current problem comes first.
  show(parts.old, catchUp.isOld && catchUp.text !== "" && !work.problem);
  // The result of an earlier read is out of date after a failure.
  show(parts.outcome, !work.problem && !catchUp.isOld);
  show(parts.badges, !["meeting-ended", "unknown-room"].includes(catchUp.reason));
  setText(
    parts.old,
    `Showing the version from ${clockTime(catchUp.asOf)}. The server could not get a newer one.`,
  );
}

/** What changes with an answer. */
function arrived(parted) {
  const { parts, catchUp } = parted;
  const { outcome } = catchUp;
  setText(parts.outcome, catchUp.text === "" ? "" : OUTCOMES[outcome]);
  if (outcome === "same" && parted.reason === catchUp.reason) {
    return;
  }
  parted.reason = catchUp.reason;
  render(parts.text, catchUp.text, catchUp.known);
  show(parts.text, catchUp.text !== "");
  show(parts.empty, catchUp.text === "");
  parts.empty.replaceChildren(...(catchUp.text === "" ? nothing(parted) : []));
  if (outcome === "grown") {
    announce(`New: ${catchUp.text.slice(catchUp.known, catchUp.known + 300)}`);
  }
}

/** Why there is nothing to read, and what to do about it. */
function nothing(parted) {
  const says = (title, sentence, ...more) => [element("h3", {}, title), element("p", {}, sentence), ...more];
  switch (parted.catchUp.reason) {
    case "transcription-off":
      return says(
        "Transcription is off",
        "This call is not transcribed, so there is no catch-up. A participant can turn transcription on.",
      );
    case "meeting-ended":
      return says(
        "This meeting has ended",
        "There is no catch-up any more. The summary has the results.",
        element("button", { type: "button", class: "main", onclick: () => readSummary(parted) }, "Read the summary"),
      );
    case "unknown-room":
      return says(
        "No call in this room",
        "The call has not started, or has ended, or the name is misspelled. Names are case-sensitive.",
        element("button", { type: "button", onclick: () => readSummary(parted) }, "Look for a summary"),
      );
    default:
      return says("Nothing has been said yet", "Check again in a minute.");
  }
}

function readSummary(parted) {
  parted.summary?.stop();
  parted.summary = summary(parted.session, parted.name);
  parted.parts.summary.replaceChildren(parted.summary.root);
  show(parted.parts.summaryCard, true);
  parted.parts.summaryCard.querySelector("h2").focus();
}

function badge(part, name, value, work) {
  const known = value === null ? (work.isRunning ? "…" : "unknown") : value ? "on" : "off";
  setText(part, `${name} ${known}`);
  part.classList.toggle("on", value === true);
  part.classList.toggle("off", value === false);
}

function problemSentence(problem, catchUp) {
  if (problem.kind === "wrong") return problem.message;
  if (problem.kind === "forbidden") return "You do not have access to this room.";
  const shown = catchUp.text ? ` Showing the version from ${clockTime(catchUp.asOf)}.` : "";
  return `The catch-up could not be loaded. ${problem.message}${shown}`;
}

/** The view of a guest who opens another room. */
function otherRoom(session, name, to) {
  const { root, parts } = fromTemplate("view-stopped");
  parts.title.append("You are a guest in ", element("bdi", {}, session.guestOf));
  const error = element("p", { class: "error", role: "alert" });
  parts.says.append(
    element("p", {}, "Guests can see one room at a time. This link is for ", element("bdi", {}, name), "."),
    error,
  );
  const enter = () => session.enterAsGuest(name).catch((problem) => setText(error, problem.message));
  const back = session.guestOf;
  parts.actions.append(
    element("button", { type: "button", class: "main", onclick: enter }, "Join that room"),
    element("button", { type: "button", onclick: () => to.room(back) }, "Stay here"),
    element("button", { type: "button", class: "plain", onclick: () => session.signOut() }, "Sign in with an account"),
  );
  return { root, title: "Guest of another room", stop() {} };
}
