// Search where the site is opened as files: browsers start no Worker from file://, so its script runs in
// a hidden frame instead. It has what the theme's search asks of a Worker, and importScripts as a promise.
(() => {
  if (location.protocol !== "file:") return;

  const load = (page, url) =>
    new Promise((resolve, reject) => {
      const script = page.createElement("script");
      script.src = url;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${url} cannot be loaded`));
      page.head.append(script);
    });

  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const from = new URL(url, location);
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "<!doctype html><title>search</title>";
      this.frame = frame;
      this.ready = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }))
        .then(() => {
          const inside = frame.contentWindow;
          inside.postMessage = (data) =>
            this.dispatchEvent(new MessageEvent("message", { data }));
          inside.importScripts = (...urls) =>
            urls.reduce(
              (before, each) => before.then(() => load(inside.document, new URL(each, from))),
              Promise.resolve(),
            );
          return load(inside.document, from);
        });
      document.body.append(frame);
    }

    postMessage(data) {
      this.ready.then(() =>
        this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })),
      );
    }

    terminate() {
      this.frame.remove();
    }
  };
})();
