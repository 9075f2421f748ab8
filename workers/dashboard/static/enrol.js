// Enrols somebody. Each photo is judged before anything is stored.

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ask } from "./api.js";
import { Picture, useFrames } from "./live.js";
import { Dialog, Face, Jpeg, Mark, Quality, attempt, blobOf, notify, whyNot } from "./parts.js";
import { Choose } from "./people.js";
import { cosine, plural, t } from "./text.js";

const MOST = 50;
const CAPTURE_S = 15;
// Browsers show a webcam to pages over HTTPS and to those of this machine only.
const hasWebcam = () => Boolean(navigator.mediaDevices?.getUserMedia);
let keys = 0;

const formOf = (photo, fields) => {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value) form.append(name, value);
  form.append("photo", photo, "photo");
  return form;
};

function FaceVerdict({ face, person }) {
  return html`<div class="judged">
    <p class=${face.fit ? "fits" : "why"}><${Mark} verdict=${face.fit ? "named" : "withdrawn"} />${t(face.fit ? "enrol.fit" : "enrol.unfit")}</p>
    <${Quality} parts=${face.parts} />
    ${face.likeness != null && html`<p class="faint">${t("enrol.likeness", { person, score: cosine(face.likeness) })}</p>`}
    ${face.look_alikes.map((one) => html`<p class="alike"><${Mark} verdict="unknown" />${t("enrol.alike", { person: one.person, score: cosine(one.score) })}</p>`)}
  </div>`;
}

function Photo({ item, person, onChoose, onRemove }) {
  const faces = item.result?.faces ?? [];
  const chosen = faces[item.face];
  return html`<li class="handed" aria-busy=${item.state === "looking"}>
    <header>
      ${faces.length > 1
        ? html`<fieldset class="which"><legend>${t("enrol.which")}</legend>${faces.map((face, at) => html`<label key=${at}>
            <input type="radio" name=${`face-${item.key}`} checked=${at === item.face} onChange=${() => onChoose(at)} />
            <${Jpeg} text=${face.picture} alt=${t("enrol.face", { number: at + 1 })} /></label>`)}</fieldset>`
        : html`<${Jpeg} text=${faces[0]?.picture} alt=${t("enrol.face", { number: 1 })} className="big" />`}
      <button type="button" class="plain" aria-label=${t("enrol.remove")} onClick=${onRemove}>✕</button>
    </header>
    ${item.state === "looking" && html`<p class="faint" role="status">${t("enrol.looking")}</p>`}
    ${item.fault && html`<p class="why" role="alert">${item.fault}</p>`}
    ${item.state === "judged" && faces.length === 0 && !item.fault && html`<p class="why" role="alert">${t("enrol.noface")}</p>`}
    ${chosen && html`<${FaceVerdict} face=${chosen} person=${person?.person} />`}
    ${item.state === "judged" && faces.length > 1 && !chosen && html`<p class="question">${t("enrol.choose")}</p>`}
  </li>`;
}

function Webcam({ onPhoto, onClose }) {
  const video = useRef(null);
  const [fault, setFault] = useState("");
  const [ready, setReady] = useState(false);
  useEffect(() => {
    let stream = null;
    let closed = false;
    navigator.mediaDevices
      .getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" }, audio: false })
      .then((opened) => {
        stream = opened;
        if (closed) stream.getTracks().forEach((one) => one.stop());
        else video.current.srcObject = stream;
      })
      .catch((error) => setFault(t("enrol.noWebcam", { reason: error.message })));
    return () => {
      closed = true;
      stream?.getTracks().forEach((one) => one.stop());
    };
  }, []);
  const take = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.current.videoWidth, video.current.videoHeight];
    canvas.getContext("2d").drawImage(video.current, 0, 0);
    canvas.toBlob((blob) => {
      onPhoto([blob]);
      onClose();
    }, "image/jpeg", 0.95);
  };
  return html`<${Dialog} title=${t("enrol.webcam")} onClose=${onClose}>
    ${fault ? html`<p class="why" role="alert">${fault}</p>`
      : html`<video class="seen" ref=${video} autoplay playsinline muted onLoadedData=${() => setReady(true)}></video>
        <p class="actions"><button type="button" class="main" disabled=${!ready} onClick=${take}>${t("enrol.shoot")}</button></p>`}
  </${Dialog}>`;
}

function AtCamera({ site, person, onCrops, onClose }) {
  const names = Object.keys(site.cameras);
  const [chosen, setChosen] = useState("");
  const camera = chosen || (names[0] ?? ""); // asked each time: the dialog may be opened before the cameras are known
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState("");
  const { frames } = useFrames(camera && `${camera}:2`);
  const look = async () => {
    setBusy(true);
    setFault("");
    try {
      const found = await ask(`cameras/${camera}/capture`, "POST", { person: person?.id ?? null, seconds: CAPTURE_S });
      onCrops(found.crops);
      onClose();
    } catch (error) {
      setFault(whyNot(error));
    }
    setBusy(false);
  };
  return html`<${Dialog} title=${t("enrol.camera")} onClose=${onClose}>
    ${names.length === 0 ? html`<p class="empty">${t("live.empty")}</p>` : html`
      <label>${t("events.camera")}<select value=${camera} disabled=${busy} onChange=${(event) => setChosen(event.target.value)}>
        ${names.map((one) => html`<option value=${one}>${one}</option>`)}</select></label>
      <${Picture} frame=${frames[camera]} name=${camera} state=${site.cameras[camera]} />
      <p role="status">${busy ? t("enrol.standing") : t("enrol.stand", { seconds: CAPTURE_S })}</p>
      ${fault && html`<p class="why" role="alert">${fault}</p>`}
      <p class="actions"><button type="button" class="main" disabled=${busy} onClick=${look}>${t("enrol.start")}</button></p>`}
  </${Dialog}>`;
}

/** The photos that were handed in, and what changes them. Each is judged when it comes, and again for another person. */
function usePhotos(person) {
  const [items, setItems] = useState([]);
  const known = useRef(person);
  known.current = person;
  const change = (key, fields) => setItems((all) => all.map((one) => (one.key === key ? { ...one, ...fields } : one)));
  const judge = async ({ key, blob }) => {
    const asked = known.current;
    change(key, { state: "looking", fault: "" });
    try {
      const [result] = (await ask("assess", "POST", formOf(blob, { person: asked?.id }))).photos;
      if (asked !== known.current) return;
      const at = result.faces.findIndex((face) => face.proposed);
      change(key, { state: "judged", result, face: at < 0 ? null : at, fault: result.fault ? whyNot({ message: result.fault.what, remedy: result.fault.remedy }) : "" });
    } catch (error) {
      change(key, { state: "failed", fault: whyNot(error) });
    }
  };
  const add = (blobs) => {
    const coming = blobs.slice(0, MOST).map((blob) => ({ key: (keys += 1), blob, state: "looking", face: null }));
    setItems((all) => [...all, ...coming].slice(0, MOST));
    coming.reduce((before, one) => before.then(() => judge(one)), Promise.resolve());
  };
  const addCrops = (crops) =>
    setItems((all) => [
      ...all,
      // The crop is the photo, and its face the one that counts.
      ...crops.map(({ jpeg, verdict }) => ({ key: (keys += 1), blob: blobOf(jpeg), state: "judged", face: 0, result: { faces: [verdict] } })),
    ].slice(0, MOST));
  useEffect(() => items.forEach(judge), [person?.id]);
  return { items, add, addCrops, change, remove: (key) => setItems((all) => all.filter((one) => one.key !== key)) };
}

export function Enrol({ id, site }) {
  const [person, setPerson] = useState(null);
  const [name, setName] = useState("");
  const [open, setOpen] = useState(null);
  const [busy, setBusy] = useState(false);
  const [over, setOver] = useState(false);
  const files = useRef(null);
  const photo = useRef(null);
  const { items, add, addCrops, change, remove } = usePhotos(person);
  useEffect(() => void attempt(async () => setPerson(id ? await ask(`people/${id}`) : null)), [id]);
  useEffect(() => {
    const paste = (event) => {
      const pasted = [...event.clipboardData.files].filter((one) => one.type.startsWith("image/"));
      if (pasted.length) add(pasted);
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  }, []);
  const taken = (event) => {
    add([...event.target.files]);
    event.target.value = "";
  };
  const dropped = (event) => {
    event.preventDefault();
    setOver(false);
    add([...event.dataTransfer.files]);
  };
  const ready = items.filter((one) => one.state === "judged" && one.face !== null && one.result.faces[one.face].fit);
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    let known = person;
    let enrolled = 0;
    for (const one of ready) {
      const fields = { box: one.result.faces.length > 1 ? one.result.faces[one.face].box.join(",") : "" };
      try {
        const answer = known
          ? await ask(`people/${known.id}/references`, "POST", formOf(one.blob, fields))
          : await ask("people", "POST", formOf(one.blob, { name, ...fields }));
        known = answer.person;
        enrolled += 1;
        if (answer.warning) notify(answer.warning);
        remove(one.key);
      } catch (error) {
        change(one.key, { fault: whyNot(error) });
        if (!known) break; // the name is refused: so it would be with the others
      }
    }
    setBusy(false);
    if (!enrolled) return;
    notify(t("enrol.done", { person: known.person }));
    location.hash = `#/people/${known.id}`;
  };
  const close = () => setOpen(null);
  return html`
    <p class="back"><a href=${id ? `#/people/${id}` : "#/people"}>← ${person ? person.person : t("page.people")}</a></p>
    <header class="top"><h1>${person ? t("enrol.more", { person: person.person }) : t("page.enrol")}</h1></header>
    <form class="enrol" onSubmit=${save}>
      <div class="whose">
        ${person ? html`<p class="chosen"><${Face} path=${`people/${person.id}/photo`} alt="" /><b>${person.person}</b></p>`
          : html`<label>${t("entry.name")}<input value=${name} maxlength="200" required autocomplete="off" onInput=${(event) => setName(event.target.value)} /></label>`}
        <button type="button" onClick=${() => (person ? setPerson(null) : setOpen("known"))}>${t(person ? "enrol.new" : "enrol.known")}</button>
      </div>
      <div class=${over ? "drop over" : "drop"} onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${dropped}>
        <p class="faint">${t("enrol.drop")}</p>
        <p class="actions">
          <button type="button" class=${items.length ? "" : "main"} onClick=${() => files.current.click()}>${t("enrol.files")}</button>
          <button type="button" class="phone" onClick=${() => photo.current.click()}>${t("enrol.photo")}</button>
          ${hasWebcam() && html`<button type="button" onClick=${() => setOpen("webcam")}>${t("enrol.webcam")}</button>`}
          <button type="button" onClick=${() => setOpen("camera")}>${t("enrol.camera")}</button>
        </p>
        <input ref=${files} class="files" type="file" accept="image/*,.heic" multiple hidden onChange=${taken} />
        <input ref=${photo} type="file" accept="image/*,.heic" capture="user" hidden onChange=${taken} />
      </div>
      <ul class="handed-in">${items.map((one) => html`<${Photo} key=${one.key} item=${one} person=${person}
        onChoose=${(face) => change(one.key, { face })} onRemove=${() => remove(one.key)} />`)}</ul>
      ${items.length > 0 && html`<p class="actions end">
        <button class="main" disabled=${busy || ready.length === 0 || !(person || name.trim())}>${plural("enrol.save", ready.length)}</button>
        <span class="faint" role="status">${busy ? t("enrol.saving") : ""}</span></p>`}
    </form>
    ${open === "webcam" && html`<${Webcam} onPhoto=${add} onClose=${close} />`}
    ${open === "camera" && html`<${AtCamera} site=${site} person=${person} onCrops=${addCrops} onClose=${close} />`}
    ${open === "known" && html`<${Choose} title=${t("enrol.known")} onChoose=${(one) => { setPerson(one); close(); }} onClose=${close} />`}`;
}
