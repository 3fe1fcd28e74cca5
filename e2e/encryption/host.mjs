// Devices of matrix-js-sdk, each in a browser context of its own, that do what the lines on standard input say.
//
// A line is {"id", "device", "do", "with"}; the answer {"id", "ok"} or {"id", "error"}. A name not heard before is a new device.

import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { launchBrowser } from "../node.mjs";
import { bundle, servePage } from "../webpage.mjs";

const LOG = process.argv[2];

const host = await servePage("encryption", await bundle(join(import.meta.dirname, "device.js")));
const browser = await launchBrowser();
const pages = new Map();

async function open(device) {
    // The servers' certificates are of an authority that lives as long as the scenario.
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    page.on("console", (message) => appendFile(LOG, `${device} ${message.type()} ${message.text()}\n`));
    page.on("pageerror", (error) => appendFile(LOG, `${device} pageerror ${error.stack ?? error}\n`));
    await page.goto(host.url);
    await page.waitForFunction(() => "device" in globalThis);
    return page;
}

async function obey({ id, device, do: command, with: parameters }) {
    try {
        if (!pages.has(device)) pages.set(device, open(device));
        const page = await pages.get(device);
        const ok = await page.evaluate(([name, given]) => globalThis.device[name](given), [command, parameters]);
        console.log(JSON.stringify({ id, ok: ok ?? null }));
    } catch (error) {
        console.log(JSON.stringify({ id, error: String(error?.message ?? error).split("\n").slice(0, 4).join(" | ") }));
    }
}

for await (const line of createInterface({ input: process.stdin })) obey(JSON.parse(line));
await browser.close();
host.close();
