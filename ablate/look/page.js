"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const slider = by("image");
  const layer = by("layer");
  const boxes = (name) => [...document.querySelectorAll(`input[name="${name}"]`)];
  const chosen = (name) => new Set(boxes(name).filter((box) => box.checked).map((box) => box.value));

  const node = (name, properties = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key === "class") made.className = value;
      else made[key] = value;
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };
  const percent = (share) => `${Math.round(100 * share)} %`;

  // A picture of one map out of K that lie side by side in one address.
  const tile = (src, at, count, alt) => {
    const picture = node("img", { src, alt, className: "pixels", decoding: "async" });
    picture.style.width = `${100 * count}%`;
    picture.style.marginLeft = `${-100 * at}%`;
    return node("span", { class: "tile" }, picture);
  };
  const over = (photo, heat, alt, dot) => {
    const layers = [node("img", { src: photo, alt: "", className: "pixels" })];
    if (heat) layers.push(node("img", { src: heat, alt, className: "heat" }));
    if (dot) {
      const mark = node("i", { class: "dot" });
      mark.style.left = `${100 * dot[0]}%`;
      mark.style.top = `${100 * dot[1]}%`;
      layers.push(mark);
    }
    return node("span", { class: "tile" }, ...layers);
  };
  const labelled = (picture, text, tone = "") =>
    node("figure", {}, picture, node("figcaption", { class: tone }, text));
  const cell = (trial, ...children) =>
    node("article", { class: "cell" }, node("h3", {}, `${trial.variant}, seed ${trial.seed}`), ...children);
  const said = (text) => node("p", { class: "note" }, text);

  const views = {
    says(trial, image, at) {
      const [predicted, confidence, own] = trial.says[at];
      const right = predicted === image.label;
      const verdict = node(
        "p", { class: right ? "right" : "wrong" },
        `${right ? "right" : "wrong"}: ${data.classes[predicted]} ${percent(confidence)}`,
        right ? "" : `, ${data.classes[image.label]} ${percent(own)}`,
      );
      if (!trial.cam) return cell(trial, verdict);
      const maps = [["predicted", predicted, trial.cam.predicted[at]]];
      if (!right) maps.push(["true", image.label, trial.cam.true[at]]);
      const pictures = maps.map(([what, label, heat]) => labelled(
        over(image.src, heat, `Class activation for ${data.classes[label]}`),
        heat ? `for ${data.classes[label]}` : `nothing speaks for ${data.classes[label]}`,
        what === "true" ? "wrong" : "",
      ));
      return cell(
        trial, verdict, node("div", { class: "strip large" }, ...pictures), said(`after ${trial.cam.layer}`),
      );
    },
    features(trial, image, at) {
      const row = layer && trial.layers[layer.value];
      if (!row) return cell(trial, said("its network has no such layer"));
      const pictures = row.channels.map((channel, k) => labelled(
        tile(row.maps[at], k, row.channels.length, `Channel ${channel}`), String(channel),
      ));
      return cell(trial, node("div", { class: "strip" }, ...pictures), said(row.shape));
    },
    top(trial, image, at) {
      const row = layer && trial.layers[layer.value];
      if (!row) return cell(trial, said("its network has no such layer"));
      const pictures = row.top[at].map((channel, k) => labelled(
        over(image.src, row.heat[at][k], `Channel ${channel} over the image`), `channel ${channel}`,
      ));
      return cell(trial, node("div", { class: "strip large" }, ...pictures));
    },
    modules(trial, image, at) {
      if (!trial.modules.length) return cell(trial, said("no attention"));
      const parts = trial.modules.map((module) => {
        const maps = module.maps.map((strip) => labelled(
          tile(strip.images[at], 0, 1, `${strip.name} at ${module.place}`), `${strip.name}\n${strip.range}`,
        ));
        const looks = module.over.map((strip) => labelled(
          over(image.src, strip.images[at], strip.name, strip.dot), strip.name,
        ));
        return node("div", {}, node("h4", {}, module.place), node("div", { class: "strip" }, ...maps, ...looks));
      });
      return cell(trial, ...parts);
    },
  };

  const draw = () => {
    const at = Number(slider.value) - 1;
    const image = data.images[at];
    const variants = chosen("variant");
    const seeds = chosen("seed");
    const trials = data.trials.filter((one) => variants.has(one.variant) && seeds.has(String(one.seed)));
    by("image-name").replaceChildren(
      node("img", { src: image.src, alt: "", className: "pixels" }),
      `Image ${at + 1} of ${data.images.length}: ${data.classes[image.label]}`,
      node("small", {}, ` (test row ${image.row})`),
    );
    slider.setAttribute("aria-valuetext", `${at + 1}, ${data.classes[image.label]}`);
    by("shown").textContent = `${variants.size} of ${boxes("variant").length} variants, ` +
      `${seeds.size} of ${boxes("seed").length} seeds`;
    for (const [key, view] of Object.entries(views)) {
      const cells = trials.map((trial) => view(trial, image, at));
      by(`view-${key}`).replaceChildren(...(cells.length ? cells : [said("Choose a variant and a seed.")]));
    }
    for (const part of document.querySelectorAll(".of-trial")) {
      part.hidden = !(variants.has(part.dataset.variant) && seeds.has(part.dataset.seed));
    }
    by("before").disabled = at === 0;
    by("after").disabled = at === data.images.length - 1;
  };
  const step = (by_) => {
    slider.value = String(Number(slider.value) + by_);
    draw();
  };
  by("before").addEventListener("click", () => step(-1));
  by("after").addEventListener("click", () => step(1));
  for (const kind of ["input", "change"]) by("controls").addEventListener(kind, draw);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button, summary") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
  });
  draw();
})();
