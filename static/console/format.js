// Formats times, durations, counts and names.

const time = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const exactTime = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit", second: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Formats milliseconds since 1970 as `14:32`. */
export function formatTime(at) {
  return time.format(at);
}

/** Formats milliseconds since 1970 as `14:32:05`. */
export function formatExactTime(at) {
  return exactTime.format(at);
}

/** Parses an RFC 3339 text to milliseconds since 1970; `NaN` for any other value. */
export function parseTime(value) {
  return typeof value === "string" ? Date.parse(value) : NaN;
}

/** Formats an RFC 3339 text as `20 Jun 2024, 08:10`; `null` for any other value. */
export function formatDateTime(value) {
  const at = parseTime(value);
  return Number.isNaN(at) ? null : dayAndTime.format(at);
}

/** Formats seconds as `40 seconds`, `1 minute`, `2 hours`. */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) {
    return formatCount(whole, "second");
  }
  const minutes = Math.round(whole / 60);
  return minutes < 90 ? formatCount(minutes, "minute") : formatCount(Math.round(minutes / 60), "hour");
}

/** Formats seconds as `just now`, `12 seconds ago`. */
export function formatAge(seconds) {
  return seconds < 3 ? "just now" : `${formatDuration(seconds)} ago`;
}

/** Formats a number with its noun: `1 room`, `3 rooms`. */
export function formatCount(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Converts `audio_call` to `Audio call`. */
export function featureName(key) {
  const words = key.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
