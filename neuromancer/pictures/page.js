"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const graph = data.graph, nodes = graph.nodes, edges = graph.edges, [W, H] = data.box;
  const id = (name) => document.getElementById(name);
  const canvas = id("canvas"), view = id("view"), panel = id("panel"), search = id("search");
  const SVG = "http://www.w3.org/2000/svg";

  // ---- creating elements; text is always inserted as text, never as markup
  function fill(element, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
      else if (value !== null && value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // ---- numbers and names
  const whole = (n) => n.toLocaleString("en-US");
  function threeDigits(v) {
    const a = Math.abs(v), text = v.toFixed(a < 9.995 ? 2 : a < 99.95 ? 1 : 0);
    return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  }
  function short(n) {
    if (n === null || n === undefined) return "?";
    for (const [factor, prefix] of [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (Math.abs(n) >= 0.9995 * factor) return threeDigits(n / factor) + "\u202f" + prefix;
    return threeDigits(n);
  }
  const percent = (share) =>
    (share >= 0.0995 ? Math.round(100 * share) : share < 0.001 ? "< 0.1" : (100 * share).toFixed(1)) + "\u202f%";
  const times = (values) => values.map((v) => (v === null ? "?" : v)).join(" × ");
  const pen = document.createElement("canvas").getContext("2d");
  const family = getComputedStyle(document.body).fontFamily;
  function fitted(text, font, width) {
    pen.font = font + " " + family;
    if (pen.measureText(text).width <= width) return text;
    const letters = Array.from(text.slice(0, 400));
    let low = 0, high = letters.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (pen.measureText(letters.slice(0, middle).join("") + "…").width <= width) low = middle;
      else high = middle - 1;
    }
    return letters.slice(0, low).join("") + "…";
  }

  // ---- the graph around a node
  const parents = nodes.map(() => []), children = nodes.map(() => []);
  for (const e of edges)
    if (e.kind === "data") {
      parents[e.target].push(e.source);
      children[e.source].push(e.target);
    }
  function reachable(start, next) {
    const found = new Set(), todo = [...next[start]];
    while (todo.length) {
      const n = todo.pop();
      if (!found.has(n)) {
        found.add(n);
        todo.push(...next[n]);
      }
    }
    return found;
  }

  // ---- drawing
  const boxes = nodes.map((n, i) => {
    const role = n.roles.join(", ");
    const roleWidth = role ? ((pen.font = "700 10px " + family), pen.measureText(role).width + 10) : 0;
    const facts = [];
    if (n.param_count) facts.push(short(n.param_count) + " par.");
    if (n.cost) facts.push("cost " + short(n.cost) + " (" + percent(n.cost_share) + ")");
    const group = svg("g", {
      class: "node " + n.kind + (n.roles.length ? " designated" : ""), role: "button", tabindex: i ? -1 : 0,
      "aria-label": [n.name, n.class_name, n.shape_text, role, n.param_count ? whole(n.param_count) + " parameters" : ""]
        .filter(Boolean).join(", "),
      "aria-pressed": "false", "data-index": i,
    },
      svg("title", {}, n.name + " (" + n.class_name + ")"),
      svg("rect", { class: "box", width: W, height: H, rx: n.kind === "source" ? 18 : 8 }),
      svg("text", { class: "name", x: 12, y: 22 }, fitted(n.name, "650 13.5px", W - 24 - roleWidth)),
      svg("text", { class: "big", x: W / 2, y: H / 2 + 9 }, fitted(n.name, "650 28px", W - 12)),
      svg("text", { class: "role", x: W - 12, y: 21 }, role),
      svg("text", { class: "small", x: 12, y: 38 }, fitted(n.class_name, "11px", W - 24)),
      svg("text", { class: "shape", x: 12, y: 54 }, fitted(n.shape_text, "11px", W - 24)),
      svg("text", { class: "small", x: 12, y: 69 }, fitted(facts.join("  ·  "), "11px", W - 24)));
    if (n.cost)
      group.append(
        svg("rect", { class: "track", x: 12, y: 76, width: W - 24, height: 4, rx: 2 }),
        svg("rect", { class: "bar", x: 12, y: 76, width: Math.max(2, (W - 24) * n.cost_share), height: 4, rx: 2 }));
    return group;
  });
  id("nodes").append(...boxes);
  const lines = edges.map((e) => svg("path", { class: e.kind }));
  id("edges").append(...lines);
  const labels = edges.map((e) => svg("text", { class: e.kind }, e.kind === "memory" ? "next step" : e.label));
  id("labels").append(...labels);

  let layout = null, bounds = null;
  function place(name) {
    layout = data.layouts[name];
    boxes.forEach((box, i) => box.setAttribute("transform", `translate(${layout.nodes[i][0]} ${layout.nodes[i][1]})`));
    lines.forEach((line, i) => line.setAttribute("d", layout.edges[i]));
    labels.forEach((label, i) => {
      label.setAttribute("x", layout.labels[i][0]);
      label.setAttribute("y", layout.labels[i][1]);
    });
    id("groups").replaceChildren(...layout.groups.flatMap((g) => [
      svg("rect", { x: g.x, y: g.y, width: g.width, height: g.height, rx: 14 }),
      svg("text", { x: g.x + 14, y: g.y + 19 }, g.label)]));
    bounds = extent(layout);
  }
  function extent(l) {
    const xs = l.nodes.map((p) => p[0]), ys = l.nodes.map((p) => p[1]);
    const edge = l.groups.length ? 34 : 4, loops = edges.some((e) => e.kind === "memory") ? 60 : 0;
    const far = Math.max(...l.labels.map((p) => p[0] + 40), ...xs.map((x) => x + W));
    return { left: Math.min(...xs) - edge, top: Math.min(...ys) - edge,
      right: Math.max(far, Math.max(...xs) + W + loops) + edge, bottom: Math.max(...ys) + H + edge };
  }

  // ---- the view: position and zoom
  const at = { x: 0, y: 0, k: 1 };
  let waiting = false;
  function show() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      view.setAttribute("transform", `translate(${at.x.toFixed(2)} ${at.y.toFixed(2)}) scale(${at.k.toFixed(4)})`);
      canvas.classList.toggle("far", at.k < 0.5);
    });
  }
  const size = () => [canvas.clientWidth || 800, canvas.clientHeight || 600];
  function fitScale(b) {
    const [w, h] = size();
    return Math.min((w - 40) / (b.right - b.left), (h - 76) / (b.bottom - b.top), 1.2);
  }
  function fit(least) {
    const [w, h] = size(), k = Math.max(fitScale(bounds), least);
    const high = (bounds.bottom - bounds.top) * k, wide = (bounds.right - bounds.left) * k;
    at.k = k;
    at.x = (wide <= w ? (w - wide) / 2 : 20) - bounds.left * k;
    if (wide > w && high <= h) at.x = 20 - bounds.left * k;
    else if (wide > w) at.x = w / 2 - (layout.nodes[0][0] + W / 2) * k;
    at.y = (high <= h - 56 ? (h - 56 - high) / 2 : 20) - bounds.top * k;
    show();
  }
  function zoom(factor, x, y) {
    const [w, h] = size(), k = Math.min(4, Math.max(0.02, at.k * factor));
    const cx = x === undefined ? w / 2 : x, cy = y === undefined ? h / 2 : y;
    at.x = cx - ((cx - at.x) * k) / at.k;
    at.y = cy - ((cy - at.y) * k) / at.k;
    at.k = k;
    show();
  }
  function reveal(i, centre) {
    const [w, h] = size(), [x, y] = layout.nodes[i];
    const left = x * at.k + at.x, top = y * at.k + at.y;
    const inside = left >= 8 && top >= 8 && left + W * at.k <= w - 8 && top + H * at.k <= h - 8;
    if (centre ? inside && at.k > 0.3 : inside) return;
    if (centre && at.k < 0.6) at.k = 0.9;
    at.x = w / 2 - (x + W / 2) * at.k;
    at.y = h / 2 - (y + H / 2) * at.k;
    show();
  }

  // ---- mouse, pen and touch
  const fingers = new Map();
  let pressed = null, travelled = 0;
  const local = (event) => {
    const r = canvas.getBoundingClientRect();
    return [event.clientX - r.left, event.clientY - r.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (!fingers.size) {
      pressed = event.target.closest(".node");
      travelled = 0;
    }
    fingers.set(event.pointerId, local(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = local(event), other = [...fingers].find(([key]) => key !== event.pointerId);
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (other && fingers.size === 2) {
      const o = other[1], distance = (p) => Math.max(10, Math.hypot(p[0] - o[0], p[1] - o[1]));
      at.x += (now[0] - before[0]) / 2;
      at.y += (now[1] - before[1]) / 2;
      zoom(distance(now) / distance(before), (now[0] + o[0]) / 2, (now[1] + o[1]) / 2);
    } else if (travelled > 4) {
      canvas.classList.add("moving");
      at.x += now[0] - before[0];
      at.y += now[1] - before[1];
      show();
    }
    fingers.set(event.pointerId, now);
  });
  function lift(event) {
    if (!fingers.delete(event.pointerId) || fingers.size) return;
    canvas.classList.remove("moving");
    if (event.type === "pointerup" && travelled <= 4) select(pressed ? Number(pressed.dataset.index) : null, true);
    pressed = null;
  }
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lineHeight = event.deltaMode === 1 ? 16 : 1, [x, y] = local(event);
    zoom(Math.exp(-event.deltaY * lineHeight * (event.ctrlKey ? 0.01 : 0.0015)), x, y);
  }, { passive: false });

  // ---- keyboard
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function neighbour(i, [dx, dy]) {
    const near = (candidates) => {
      let best = null, least = Infinity;
      for (const n of candidates) {
        const x = layout.nodes[n][0] - layout.nodes[i][0], y = layout.nodes[n][1] - layout.nodes[i][1];
        const along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
        if (along > 8 && along + 2 * across < least) [best, least] = [n, along + 2 * across];
      }
      return best;
    };
    const linked = near([...parents[i], ...children[i]]);
    return linked === null ? near(nodes.keys()) : linked;
  }
  function focus(i) {
    for (const box of boxes) box.setAttribute("tabindex", -1);
    boxes[i].setAttribute("tabindex", 0);
    boxes[i].focus({ preventScroll: true });
    reveal(i, false);
  }
  canvas.addEventListener("keydown", (event) => {
    const box = event.target.closest(".node"), arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (box && (event.key === "Enter" || event.key === " ")) select(Number(box.dataset.index), false);
    else if (box && arrow && !event.shiftKey) {
      const next = neighbour(Number(box.dataset.index), arrow);
      if (next !== null) focus(next);
    } else if (arrow) {
      at.x -= 60 * arrow[0];
      at.y -= 60 * arrow[1];
      show();
    } else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select")) return;
    if (event.key === "Escape") {
      search.value = "";
      find();
      select(null, false);
    } else if (event.target === search) {
      return;
    } else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "0") fit(0);
    else if (event.key === "/") {
      event.preventDefault();
      search.focus();
    }
  });

  // ---- selecting
  let selected = null;
  function select(i, focused) {
    selected = i;
    const up = i === null ? new Set() : reachable(i, parents), down = i === null ? new Set() : reachable(i, children);
    view.classList.toggle("picking", i !== null);
    boxes.forEach((box, n) => {
      box.classList.toggle("selected", n === i);
      box.classList.toggle("up", up.has(n));
      box.classList.toggle("down", down.has(n));
      box.setAttribute("aria-pressed", String(n === i));
    });
    edges.forEach((e, n) => {
      const data = e.kind === "data";
      lines[n].classList.toggle("up", data && (up.has(e.target) || e.target === i) && up.has(e.source));
      lines[n].classList.toggle("down", data && (down.has(e.source) || e.source === i) && down.has(e.target));
      labels[n].classList.toggle("on", i !== null && (e.source === i || e.target === i));
    });
    if (i !== null && focused) focus(i);
    describe(i, up, down);
  }
  function go(i) {
    select(i, false);
    focus(i);
    reveal(i, true);
  }

  // ---- the panel
  const heading = (text) => html("h3", {}, text);
  const row = (head, ...cells) => html("tr", {}, html("th", { scope: "row" }, head), ...cells);
  const number = (text) => html("td", { class: "number" }, text);
  function pairs(entries) {
    return html("table", {}, html("tbody", {},
      ...entries.map(([key, value]) => row(key, html("td", {}, html("code", {}, value))))));
  }
  function links(title, list, kind) {
    if (!list.length) return [];
    return [heading(title), html("div", { class: "links" }, ...list.map((n) =>
      html("button", { type: "button", class: kind, on: { click: () => go(n) } }, nodes[n].name)))];
  }
  function axes(n) {
    if (!n.tags) return html("p", {}, "Not a tensor: objects are passed through unchanged.");
    if (!n.tags.length) return html("p", {}, "A scalar" + (n.dtype ? " (" + n.dtype + ")" : "") + ".");
    const spatial = n.tags.map((t) => "zyx".includes(t)), some = spatial.includes(true);
    const head = ["axis", "size", ...(some ? ["stride", "field of view", "offset"] : [])];
    let k = -1;
    return html("table", { id: "axes" },
      html("thead", {}, html("tr", {}, ...head.map((h, c) =>
        html("th", { scope: "col", class: c ? "number" : null }, h)))),
      html("tbody", {}, ...n.tags.map((tag, i) => {
        if (spatial[i]) k += 1;
        const place = !some ? [] : spatial[i] ? [n.strides[k], n.fov[k], n.offsets[k]] : ["", "", ""];
        return row(tag, number(n.sizes[i] === null ? "any" : whole(n.sizes[i])),
          ...place.map((v) => number(v === null ? "?" : String(v))));
      })));
  }
  function parameters(n) {
    return html("table", { id: "parameters" },
      html("thead", {}, html("tr", {}, ...["name", "shape", "values"].map((h, c) =>
        html("th", { scope: "col", class: c === 2 ? "number" : null }, h)))),
      html("tbody", {}, ...n.params.map((p) => {
        const notes = p.constant ? "constant" : p.trainable ? "" : "not trainable";
        return row(p.name,
          html("td", {}, p.shape.join(" × ") || "scalar", notes ? html("div", { class: "class" }, notes) : null),
          number(whole(p.count)));
      })));
  }
  function describe(i, up, down) {
    if (i === null) {
      overview();
      return;
    }
    const n = nodes[i];
    const parts = [html("h2", {}, n.name), html("p", { class: "class" }, html("b", {}, n.class_name), " · " + n.kind)];
    if (n.roles.length) parts.push(html("div", {}, ...n.roles.map((r) => html("span", { class: "badge" }, r))));
    if (n.summary) parts.push(html("p", {}, n.summary));
    parts.push(heading("Output" + (n.dtype && n.tags && n.tags.length ? " (" + n.dtype + ")" : "")), axes(n));
    if (n.fragments > 1) parts.push(html("p", {}, n.fragments + " fragments in the batch"));
    if (n.features.length) parts.push(heading("Features"), html("p", {}, n.features.join(", ")));
    if (n.params.length)
      parts.push(heading("Parameters (" + whole(n.param_count) + " trainable)"), parameters(n));
    parts.push(heading("Cost"), html("p", { id: "cost" },
      n.cost === null ? "unknown" : short(n.cost) + " operations, " + percent(n.cost_share) + " of the total"));
    if (n.arguments.length) parts.push(heading("Arguments"), pairs(n.arguments));
    if (n.defaults.length)
      parts.push(html("details", {}, html("summary", {}, n.defaults.length + " with default values"),
        pairs(n.defaults)));
    parts.push(...links("Inputs", parents[i], "up"), ...links("Used by", children[i], "down"));
    parts.push(html("p", {}, html("span", { class: "up" }, up.size + " above"), ", ",
      html("span", { class: "down" }, down.size + " below")));
    panel.replaceChildren(...parts);
    panel.scrollTop = 0;
  }
  function overview() {
    const costly = [...nodes.keys()].filter((i) => nodes[i].cost).sort((a, b) => nodes[b].cost - nodes[a].cost);
    const parts = [html("h2", {}, "Overview"), html("p", {}, "Select a node to see its details.")];
    const ref = nodes.find((n) => n.name === graph.reference);
    if (ref && ref.tags) parts.push(heading("Output of " + ref.name), axes(ref));
    if (costly.length)
      parts.push(heading("Most expensive nodes"), html("table", {}, html("tbody", {}, ...costly.slice(0, 6).map((i) =>
        html("tr", {}, html("td", { class: "links" },
          html("button", { type: "button", on: { click: () => go(i) } }, nodes[i].name)),
        number(short(nodes[i].cost)), number(percent(nodes[i].cost_share)))))));
    const keys = [["drag, arrows", "move"], ["wheel, pinch, + −", "zoom"], ["0", "show the whole graph"],
      ["Tab, arrows", "go from node to node"], ["Enter", "select"], ["Esc", "clear"], ["/", "search"]];
    parts.push(heading("Keys"), html("table", {}, html("tbody", {}, ...keys.map(([key, what]) =>
      html("tr", {}, html("td", {}, html("kbd", {}, key)), html("td", {}, what))))));
    panel.replaceChildren(...parts);
  }

  // ---- searching
  let matches = [], turn = -1;
  function find() {
    const wanted = search.value.trim().toLowerCase();
    matches = [];
    turn = -1;
    boxes.forEach((box, i) => {
      const hit = wanted !== "" && [nodes[i].name, nodes[i].class_name].some((t) => t.toLowerCase().includes(wanted));
      box.classList.toggle("match", hit);
      if (hit) matches.push(i);
    });
    view.classList.toggle("searching", wanted !== "");
    id("found").textContent = wanted ? matches.length + " of " + nodes.length : "";
  }
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !matches.length) return;
    turn = (turn + (event.shiftKey ? matches.length - 1 : 1) + (turn < 0 && event.shiftKey ? 1 : 0)) % matches.length;
    select(matches[turn], false);
    reveal(matches[turn], true);
  });

  // ---- colours
  const MEASURES = {
    cost: [(n) => n.cost, short], parameters: [(n) => n.param_count, short],
    fov: [(n) => (n.fov.length && !n.fov.includes(null) ? n.fov.reduce((a, b) => a * b, 1) : null),
      (v, n) => (n ? times(n.fov) : short(v))],
  };
  const KINDS = { source: "source", value: "value", layer: "layer with parameters", operation: "operation",
    loss: "loss or error" };
  const swatch = (colour) => {
    const rect = svg("rect", { width: 16, height: 12, rx: 3, y: 1 });
    rect.style.fill = colour;
    rect.style.stroke = "var(--edge)";
    return svg("svg", { width: 17, height: 14, "aria-hidden": "true" }, rect);
  };
  const mixed = (colour, part) => `color-mix(in oklab, ${colour} ${part.toFixed(1)}%, var(--card))`;
  function paint(mode) {
    const legend = [];
    let colours;
    if (mode === "kind") {
      colours = nodes.map((n) => `var(--${n.kind})`);
      for (const kind of Object.keys(KINDS))
        if (nodes.some((n) => n.kind === kind)) legend.push([`var(--${kind})`, KINDS[kind]]);
    } else if (mode === "class") {
      const classes = [...new Set(nodes.map((n) => n.class_name))];
      const hue = (name) => mixed(`hsl(${((classes.indexOf(name) * 137.508 + 210) % 360).toFixed(0)} 75% 50%)`, 32);
      colours = nodes.map((n) => hue(n.class_name));
      for (const name of classes.slice(0, 14)) legend.push([hue(name), name]);
      if (classes.length > 14) legend.push(["var(--card)", `and ${classes.length - 14} more`]);
    } else {
      const [value, text] = MEASURES[mode], values = nodes.map((n) => value(n));
      const known = [...nodes.keys()].filter((i) => values[i]).sort((a, b) => values[a] - values[b]);
      const low = Math.log(values[known[0]]), high = Math.log(values[known[known.length - 1]]);
      const part = (v) => 6 + 64 * (high > low ? (Math.log(v) - low) / (high - low) : 1);
      colours = values.map((v) => (v ? mixed("var(--accent)", part(v)) : "var(--card)"));
      const distinct = known.filter((i, k) => !k || values[i] !== values[known[k - 1]]);
      const steps = new Set([0, 0.25, 0.5, 0.75, 1].map((q) => Math.round(q * (distinct.length - 1))));
      if (values.some((v) => !v)) legend.push(["var(--card)", "none"]);
      for (const s of distinct.length ? steps : []) {
        const i = distinct[s];
        legend.push([mixed("var(--accent)", part(values[i])), text(values[i], nodes[i])]);
      }
    }
    boxes.forEach((box, i) => (box.querySelector(".box").style.fill = colours[i]));
    id("legend").replaceChildren(...legend.map(([colour, text]) => html("span", {}, swatch(colour), text)));
  }

  // ---- start
  id("title").textContent = graph.title;
  const ref = nodes.find((n) => n.name === graph.reference);
  const frozen = graph.param_count_all - graph.param_count;
  const totals = [["nodes", whole(nodes.length)], ["trainable parameters", whole(graph.param_count)],
    frozen ? ["others", whole(frozen)] : null, ["cost", short(graph.cost)],
    ref && ref.fov.length ? ["field of view", times(ref.fov)] : null,
    ref && ref.fov.length ? ["strides", times(ref.strides)] : null,
    ref && ref.fov.length ? ["offset", times(ref.offsets)] : null].filter(Boolean);
  id("totals").append(...totals.map(([key, value]) =>
    html("div", {}, html("dt", {}, key), html("dd", {}, value))));
  id("colour").value = data.options.colour;
  id("colour").addEventListener("change", (event) => paint(event.target.value));
  // Off by default: boxes already show the shapes of their outputs.
  id("shapes").addEventListener("change", (event) => id("labels").classList.toggle("all", event.target.checked));
  id("in").addEventListener("click", () => zoom(1.25));
  id("out").addEventListener("click", () => zoom(0.8));
  id("fit").addEventListener("click", () => fit(0));
  id("layout").addEventListener("change", (event) => {
    place(event.target.value);
    fit(0);
  });
  overview();
  paint(data.options.colour);
  let first = "layers";
  if (data.layouts.scales) {
    if (fitScale(extent(data.layouts.scales)) > fitScale(extent(data.layouts.layers))) first = "scales";
  } else id("arrangement").hidden = true;
  id("layout").value = first;
  place(first);
  fit(first === "scales" ? 0.28 : 0.42);
})();
