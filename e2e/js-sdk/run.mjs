// Bundles the scenario with matrix-js-sdk into a page and lives through it in a real Chromium.

import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";

import { build } from "esbuild";

import { commandLine, openBrowser, restart } from "../node.mjs";

const HERE = import.meta.dirname;
const WHOLE_SCENARIO_MS = 5 * 60_000;

async function bundle() {
    const outfile = join(HERE, "scenario.bundle.js");
    await build({
        entryPoints: [join(HERE, "scenario.js")],
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
async function servePage(script) {
    const server = createServer((request, response) => {
        const isScript = request.url === "/scenario.js";
        response.setHeader("content-type", isScript ? "text/javascript" : "text/html; charset=utf-8");
        response.end(isScript ? script : '<!doctype html><title>js-sdk</title><script type="module" src="/scenario.js"></script>');
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

const { server, restartCommand, artifacts } = commandLine();
const host = await servePage(await bundle());
const browser = await openBrowser();
const log = [];
let failures = 1;
try {
    const { page } = browser;
    page.setDefaultTimeout(WHOLE_SCENARIO_MS);
    page.on("console", (message) => log.push(`${message.type()} ${message.text()}`));
    page.on("pageerror", (error) => log.push(`pageerror ${error.stack ?? error}`));
    await page.exposeFunction("print", (line) => console.log(line));
    await page.exposeFunction("restartServer", () => restart(restartCommand));
    await page.goto(host.url);
    await page.waitForFunction(() => "runScenario" in globalThis);
    failures = await page.evaluate(
        ({ server, canRestart }) => globalThis.runScenario(server, canRestart),
        { server, canRestart: Boolean(restartCommand) },
    );
} finally {
    if (artifacts) await writeFile(join(artifacts, "js-sdk.log"), log.join("\n"));
    await browser.close();
    host.close();
}
process.exitCode = failures === 0 ? 0 : 1;
