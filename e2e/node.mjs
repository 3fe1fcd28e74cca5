// What the scenarios that run in Node need from the machine: a real Chromium, the command line, the restart of the server.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { chromium } from "playwright-core";

const FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

export function commandLine() {
    const option = { type: "string" };
    const { values } = parseArgs({ options: { server: option, "restart-cmd": option, artifacts: option } });
    if (!values.server) throw new Error("--server is missing");
    return { server: values.server.replace(/\/$/, ""), restartCommand: values["restart-cmd"], artifacts: values.artifacts };
}

/** A browser for many: each of its contexts has an empty profile. */
export function launchBrowser() {
    return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: FLAGS });
}

/** A browser of its own: empty profile, no shared connections, no shared storage. */
export async function openBrowser(options = {}) {
    const profile = await mkdtemp(join(tmpdir(), "e2e-chromium-"));
    const context = await chromium.launchPersistentContext(profile, {
        executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
        headless: true,
        args: FLAGS,
        ...options,
    });
    return {
        page: context.pages()[0] ?? (await context.newPage()),
        async close() {
            await context.close();
            await rm(profile, { recursive: true, force: true, maxRetries: 5 });
        },
    };
}

/** Resolves when the command has ended well: the server answers again. */
export function restart(command) {
    return new Promise((resolve, reject) => {
        const child = spawn(command, { shell: true, stdio: ["ignore", "inherit", "inherit"] });
        child.once("error", reject);
        child.once("exit", (code) => (code === 0 ? resolve() : reject(new Error(`the restart command ended with ${code}`))));
    });
}
