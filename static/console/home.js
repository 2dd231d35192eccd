// The home page of a user: opens rooms, and lists past meetings with their summaries.

import { element, fromTemplate, isolated, setText, show } from "./dom.js";
import { featuresPanel } from "./features.js";
import { formatCount, formatDateTime, formatDuration, parseTime } from "./format.js";
import { malformed, roomUrl } from "./http.js";
import { bindProblem } from "./notice.js";
import { Poller } from "./poller.js";
import { recentRooms } from "./recent-rooms.js";
import { settings } from "./settings.js";
import { summaryPanel } from "./summary.js";

/** The number of rooms that are added to the list at a time. */
const PAGE_SIZE = 20;

/** Returns the view of a signed-in user. */
export function homeView(session, navigation) {
  const { root, parts } = fromTemplate("view-home");
  const features = featuresPanel(session);
  const summaries = [];
  let rooms = [];
  let shown = 0;

  const showMore = () => {
    const next = rooms.slice(shown, shown + PAGE_SIZE);
    parts.list.append(...next.map((group) => roomItem(session, group, navigation, summaries)));
    shown += next.length;
    show(parts.more, shown < rooms.length);
    setText(parts.more, `Show more (${formatCount(rooms.length - shown, "room")} left)`);
  };
  const stopSummaries = () => summaries.splice(0).forEach((one) => one.stop());
  const work = new Poller(async () => {
    const meetings = await readMeetings(session);
    stopSummaries();
    rooms = groupByRoom(meetings ?? []);
    shown = 0;
    parts.list.replaceChildren();
    showMore();
    show(parts.empty, meetings !== null && rooms.length === 0);
    show(parts.unlisted, meetings === null);
  });
  const update = bindProblem(parts.problem, work, (problem) => `The meetings could not be loaded. ${problem.message}`);
  work.addEventListener("change", () => {
    show(parts.loading, work.succeededAt === null && !work.problem);
    update();
  });

  listRooms(parts.recent, recentRooms());
  settings().then(({ sampleRooms }) => listRooms(parts.samples, sampleRooms));
  parts.sidebar.append(features.root);
  parts.refresh.addEventListener("click", () => work.run());
  parts.more.addEventListener("click", () => {
    const first = shown;
    showMore();
    parts.list.children[first]?.querySelector("button")?.focus();
  });
  bindOpenRoom(parts.open, navigation);
  work.run();
  const stop = () => {
    work.stop();
    features.stop();
    stopSummaries();
  };
  return { root, title: "Meetings", stop };
}

/** Reads the past meetings; `null` if the server lists none to this user, who may enter certain rooms only. */
async function readMeetings(session) {
  try {
    const { data } = await session.request({ path: "/meetings" });
    return data ?? [];
  } catch (problem) {
    if (problem.kind === "forbidden") return null;
    throw problem;
  }
}

/** Lists links to rooms in a part of the view. */
function listRooms(part, rooms) {
  show(part, rooms.length > 0);
  const link = (room) => element("a", { href: roomUrl(room), "data-internal": true }, isolated(room));
  const list = part.querySelector("ul");
  list.replaceChildren();
  // One by one: the number of arguments of a call is limited.
  for (const room of rooms) list.append(element("li", {}, link(room)));
}

/** Makes a form open the room of its field. */
export function bindOpenRoom(form, navigation) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = form.elements.room.value.trim();
    if (name !== "") navigation.room(name);
  });
}

/**
 * Groups meetings by room; the room with the latest end comes first. A summary is of a room, so a room is one entry. Meetings
 * without a readable room name are one entry, whose `room` is `null`.
 */
function groupByRoom(data) {
  if (!Array.isArray(data)) throw malformed();
  const meetings = data.filter((meeting) => typeof meeting === "object" && meeting !== null);
  const ended = (meeting) => parseTime(meeting.destroyed_at) || 0;
  const groups = new Map();
  for (const meeting of meetings.sort((one, other) => ended(other) - ended(one))) {
    const room = typeof meeting.room_name === "string" ? meeting.room_name : null;
    if (!groups.has(room)) groups.set(room, []);
    groups.get(room).push(meeting);
  }
  return [...groups].map(([room, of]) => ({ room, last: of[0], earlier: of.slice(1) }));
}

function roomItem(session, { room, last, earlier }, navigation, summaries) {
  const earlierList = earlier.length > 0 ? earlierMeetings(earlier) : null;
  if (room === null) {
    return element("li", {}, element("div", { class: "meeting" }, element("h3", {}, "Unknown room"), timeOf(last)), earlierList);
  }
  const panel = element("div", { class: "meeting-summary", hidden: true });
  let summary = null;
  const toggle = element("button", { type: "button", "aria-expanded": "false" }, "Summary");
  toggle.setAttribute("aria-label", `Summary of ${room}`);
  toggle.addEventListener("click", () => {
    show(panel, panel.hidden);
    toggle.setAttribute("aria-expanded", String(!panel.hidden));
    if (!summary) {
      summary = summaryPanel(session, room);
      panel.append(summary.root);
      summaries.push(summary);
    }
  });
  return element(
    "li",
    {},
    element("div", { class: "meeting" }, element("h3", {}, isolated(room)), timeOf(last), toggle),
    earlierList,
    panel,
  );
}

function timeOf(meeting) {
  return element("p", { class: "meeting-time" }, meetingTime(meeting));
}

function earlierMeetings(earlier) {
  const list = element("ul");
  // One by one: the number of arguments of a call is limited.
  for (const meeting of earlier) list.append(element("li", {}, meetingTime(meeting)));
  return element("details", { class: "earlier" }, element("summary", {}, formatCount(earlier.length, "earlier meeting")), list);
}

/** Formats as `20 Jun 2024, 08:10 · 30 minutes`, without unknown parts. */
function meetingTime({ created_at: from, destroyed_at: to }) {
  const start = formatDateTime(from);
  const lasted = (parseTime(to) - parseTime(from)) / 1000;
  const parts = [start ?? "Unknown time", lasted > 0 ? formatDuration(lasted) : null];
  return parts.filter((part) => part !== null).join(" · ");
}
