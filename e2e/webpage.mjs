// A page of our own with a script that esbuild made of what it imports, for the scenarios that run inside a browser.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";

import { build } from "esbuild";

// matrix-js-sdk asks for its cryptography beside the script.
const WASM_PATH = "/pkg/matrix_sdk_crypto_wasm_bg.wasm";
const WASM_FILE = join(import.meta.dirname, "node_modules/@matrix-org/matrix-sdk-crypto-wasm", WASM_PATH);

export async function bundle(entryPoint) {
    const outfile = entryPoint.replace(/\.js$/, ".bundle.js");
    await build({
        entryPoints: [entryPoint],
        outfile,
        bundle: true,
        format: "esm",
        platform: "browser",
        target: "chrome120",
        define: { global: "globalThis" },
        logLevel: "error",
    });
    return readFile(outfile);
}

/** The page has an origin of its own, as Element has: every request to the homeserver is a cross-origin one. */
export async function servePage(title, script) {
    const wasm = await readFile(WASM_FILE);
    const files = {
        "/script.js": ["text/javascript", script],
        [WASM_PATH]: ["application/wasm", wasm],
    };
    const page = `<!doctype html><title>${title}</title><script type="module" src="/script.js"></script>`;
    const server = createServer((request, response) => {
        const [type, body] = files[request.url] ?? ["text/html; charset=utf-8", page];
        response.setHeader("content-type", type);
        response.end(body);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}
