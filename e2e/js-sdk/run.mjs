// Bundles the scenario with matrix-js-sdk into a page and lives through it in a real Chromium.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { commandLine, openBrowser, restart } from "../node.mjs";
import { bundle, servePage } from "../webpage.mjs";

const WHOLE_SCENARIO_MS = 5 * 60_000;

const { server, restartCommand, artifacts } = commandLine();
const host = await servePage("js-sdk", await bundle(join(import.meta.dirname, "scenario.js")));
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
