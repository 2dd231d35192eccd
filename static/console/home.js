// The start page of a user: a room to open, and the past meetings with their summaries.

import { element, foreign, fromTemplate, setText, show } from "./dom.js";
import { malformed } from "./http.js";
import { offers } from "./offers.js";
import { Repeated } from "./repeat.js";
import { problemNotice } from "./stopped.js";
import { summary } from "./summary.js";
import { count, dateTime, duration, instant } from "./words.js";

/** The rooms that are listed at a time. */
const PAGE = 20;

/** The view. */
export function home(session, to) {
  const { root, parts } = fromTemplate("view-home");
  const offered = offers(session);
  const open = [];
  let rooms = [];
  let shown = 0;

  const more = () => {
    const next = rooms.slice(shown, shown + PAGE);
    parts.list.append(...next.map((group) => item(session, group, to, open)));
    shown += next.length;
    show(parts.more, shown < rooms.length);
    setText(parts.more, `Show more (${count(rooms.length - shown, "room")} left)`);
  };
  const stopSummaries = () => open.splice(0).forEach((one) => one.stop());
  const work = new Repeated(async () => {
    const { data } = await session.ask({ path: "/meetings" });
    stopSummaries();
    rooms = byRoom(data);
    shown = 0;
    parts.list.replaceChildren();
    more();
    show(parts.empty, rooms.length === 0);
  });
  const update = problemNotice(parts.problem, work, (problem) => `The meetings could not be loaded. ${problem.message}`);
  work.addEventListener("change", () => {
    show(parts.loading, work.succeededAt === null && !work.problem);
    update();
  });

  parts.side.append(offered.root);
  parts.again.addEventListener("click", () => work.run());
  parts.more.addEventListener("click", () => {
    const first = shown;
    more();
    parts.list.children[first]?.querySelector("button")?.focus();
  });
  opens(parts.open, to);
  work.run();
  const stop = () => {
    work.stop();
    offered.stop();
    stopSummaries();
  };
  return { root, title: "Meetings", stop };
}

/** Makes a form open the room that is typed into it. */
export function opens(form, to) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.room.value.trim();
    if (name !== "") to.room(name);
  });
}

/**
 * Groups meetings by room; the room with the latest end comes first. A summary is of a room, so a room is one entry. Meetings
 * without a readable room name are one entry, whose `room` is `null`.
 */
function byRoom(data) {
  if (data !== null && !Array.isArray(data)) throw malformed();
  const meetings = (data ?? []).filter((meeting) => typeof meeting === "object" && meeting !== null);
  const ended = (meeting) => instant(meeting.destroyed_at) || 0;
  const groups = new Map();
  for (const meeting of meetings.sort((one, other) => ended(other) - ended(one))) {
    const room = typeof meeting.room_name === "string" ? meeting.room_name : null;
    if (!groups.has(room)) groups.set(room, []);
    groups.get(room).push(meeting);
  }
  return [...groups].map(([room, of]) => ({ room, last: of[0], earlier: of.slice(1) }));
}

function item(session, { room, last, earlier }, to, open) {
  const before = earlier.length > 0 ? earlierMeetings(earlier) : null;
  if (room === null) {
    return element("li", {}, element("div", { class: "meeting" }, element("h3", {}, "Unknown room"), time(last)), before);
  }
  const place = element("div", { class: "place", hidden: true });
  let read = null;
  const toggle = element("button", { type: "button", "aria-expanded": "false" }, "Summary");
  toggle.setAttribute("aria-label", `Summary of ${room}`);
  toggle.addEventListener("click", () => {
    show(place, place.hidden);
    toggle.setAttribute("aria-expanded", String(!place.hidden));
    if (!read) {
      read = summary(session, room);
      place.append(read.root);
      open.push(read);
    }
  });
  return element(
    "li",
    {},
    element("div", { class: "meeting" }, element("h3", {}, foreign(room)), time(last), toggle),
    before,
    place,
  );
}

function time(meeting) {
  return element("p", { class: "when" }, when(meeting));
}

function earlierMeetings(earlier) {
  const list = element("ul");
  // One by one: a call takes only so many arguments.
  for (const meeting of earlier) list.append(element("li", {}, when(meeting)));
  return element("details", { class: "before" }, element("summary", {}, count(earlier.length, "earlier meeting")), list);
}

/** `20 Jun 2024, 08:10 · 30 minutes`, as far as it is known. */
function when({ created_at: from, destroyed_at: to }) {
  const start = dateTime(from);
  const lasted = (instant(to) - instant(from)) / 1000;
  const parts = [start ?? "Unknown time", lasted > 0 ? duration(lasted) : null];
  return parts.filter((part) => part !== null).join(" · ");
}
