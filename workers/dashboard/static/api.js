// The public API: questions, and the stream of sightings.

const API = new URL("../api/v1/", import.meta.url);
const RETRY_MS = 2000;
const KINDS = ["named", "withdrawn", "unknown", "left", "corrected", "camera_up", "camera_down"];

export const urlOf = (path) => new URL(path, API).href;

/** The answer to one question. Throws an Error with `status`, `type`, `values`, `remedy` and all `faults` for a refusal; status 0: the network is away. */
export async function ask(path, method = "GET", body, headers = {}) {
  let answer;
  try {
    answer = await fetch(urlOf(path), {
      method,
      headers: body === undefined || body instanceof FormData ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined || body instanceof FormData ? body : JSON.stringify(body),
    });
  } catch (error) {
    throw Object.assign(new Error(error.message), { status: 0 });
  }
  const found = answer.status === 204 ? null : await answer.json();
  if (answer.ok) return found;
  const fault = found.errors?.[0];
  throw Object.assign(new Error(found.detail ?? found.title), {
    status: answer.status, type: found.type?.split(":").pop(), values: found.values, remedy: fault?.remedy, faults: found.errors ?? [],
  });
}

export const query = (fields) => {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(fields))
    for (const one of [value].flat()) if (one !== "" && one != null) given.append(name, one);
  return given.toString();
};

/** Follows sightings after `last`. A stream that ended is opened again after the last id that came; a hidden page has none. Returns what ends it. */
export function follow(last, { onEvent, onStatus, onGap, onLive }) {
  let stream = null;
  let timer = 0;
  const open = () => {
    clearTimeout(timer);
    if (stream || document.hidden) return;
    stream = new EventSource(urlOf(`events/stream?after=${last}`));
    stream.onopen = () => onLive?.(true);
    stream.onerror = () => {
      onLive?.(false);
      close();
      timer = setTimeout(open, RETRY_MS);
    };
    stream.addEventListener("status", (one) => onStatus?.(JSON.parse(one.data)));
    stream.addEventListener("gap", (one) => onGap?.(JSON.parse(one.data)));
    for (const kind of KINDS)
      stream.addEventListener(kind, (one) => {
        const event = JSON.parse(one.data);
        if (event.id <= last) return;
        last = event.id;
        onEvent?.(event);
      });
  };
  const close = () => {
    stream?.close();
    stream = null;
  };
  const turn = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", turn);
  addEventListener("online", open);
  open();
  return () => {
    clearTimeout(timer);
    close();
    document.removeEventListener("visibilitychange", turn);
    removeEventListener("online", open);
  };
}

/** The frames of cameras, each {camera, number, time, width, height, tracks} with its JPEG, until `signal` ends it. Throws when it breaks. */
export async function* watch(cameras, signal) {
  const answer = await fetch(urlOf(`live?${query({ cameras })}`), { signal });
  if (!answer.ok) throw Object.assign(new Error(answer.statusText), { status: answer.status });
  const reader = answer.body.getReader();
  let held = new Uint8Array(0);
  const take = async (size) => {
    while (held.length < size) {
      const { done, value } = await reader.read();
      if (done) throw new Error("ended");
      const more = new Uint8Array(held.length + value.length);
      more.set(held);
      more.set(value, held.length);
      held = more;
    }
    const taken = held.subarray(0, size);
    held = held.subarray(size);
    return taken;
  };
  try {
    for (;;) {
      const lengths = await take(8);
      const view = new DataView(lengths.buffer, lengths.byteOffset);
      const [headSize, jpegSize] = [view.getUint32(0, true), view.getUint32(4, true)];
      const head = JSON.parse(new TextDecoder().decode(await take(headSize)));
      const jpeg = (await take(jpegSize)).slice();
      if (head.camera) yield { head, jpeg };
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
