// One person at the page: a browser of their own, what they do there, and what crossed the wire meanwhile.

import { openBrowser } from "../node.mjs";

const PASSWORD = "correct horse battery staple";
const hook = (name) => `[data-test="${name}"]`;

export class Visitor {
    // Each element: the `since` of one sync.start, in order; a fresh start has none.
    starts = [];
    framesReceived = 0;
    polls = 0;
    errors = [];

    constructor(server, name) {
        this.server = server;
        this.name = name;
    }

    async arrive(options) {
        this.browser = await openBrowser({ viewport: { width: 960, height: 800 }, ...options });
        this.page = this.browser.page;
        this.page.setDefaultTimeout(28_000);
        this.#watch();
        await this.page.goto(`${this.server}/`);
        await this.page.waitForSelector(`${hook("region")}[data-up=yes]`);
    }

    #watch() {
        this.page.on("websocket", (socket) => {
            socket.on("framesent", ({ payload }) => this.#sent(payload));
            socket.on("framereceived", () => (this.framesReceived += 1));
        });
        this.page.on("request", (request) => {
            if (new URL(request.url()).pathname.endsWith("/v3/sync")) this.polls += 1;
        });
        this.page.on("pageerror", (error) => this.errors.push(String(error.stack ?? error)));
        this.page.on("console", (message) => {
            const blocked = /Content Security Policy/i.test(message.text());
            if (blocked) this.errors.push(message.text());
        });
    }

    #sent(payload) {
        const { method, params } = JSON.parse(payload.toString());
        if (method === "sync.start") this.starts.push(params?.since);
    }

    at(name, options) {
        return this.page.locator(hook(name), options);
    }

    async signUp() {
        await this.#fillIn();
        await this.at("register").click();
        await this.untilOnline();
    }

    async logIn() {
        await this.#fillIn();
        await this.at("login").click();
        await this.untilOnline();
    }

    async #fillIn() {
        await this.at("username").fill(this.name);
        await this.at("password").fill(PASSWORD);
    }

    async logOut() {
        await this.at("logout").click();
        await this.at("username").waitFor();
    }

    untilOnline() {
        return this.at("connection", { hasText: "online" }).waitFor();
    }

    /** The page keeps its session where only this tab sees it. */
    token() {
        return this.page.evaluate(() => JSON.parse(sessionStorage.getItem("meridian.session")).access_token);
    }

    userId() {
        return this.at("own-id").textContent();
    }

    directRoom() {
        return this.page.locator('[data-test="room-item"][data-direct="yes"]');
    }

    async accountData(type) {
        const path = `/_matrix/client/v3/user/${encodeURIComponent(await this.userId())}/account_data/${type}`;
        const headers = { authorization: `Bearer ${await this.token()}` };
        return (await fetch(this.server + path, { headers })).json();
    }

    async say(text) {
        await this.at("composer").fill(text);
        await this.at("send").click();
    }

    message(text) {
        return this.at("message").filter({ has: this.page.locator(hook("message-body"), { hasText: text }) });
    }

    async sees(text) {
        await this.message(text).first().waitFor();
    }

    /** The texts that start so, in the order in which they are shown. */
    async shown(prefix) {
        const texts = await this.at("message-body").allTextContents();
        return texts.filter((text) => text.startsWith(prefix));
    }

    async loadOlder() {
        const before = await this.at("message").count();
        await this.at("load-older").click();
        await this.page.waitForFunction(
            (count) => document.querySelectorAll('[data-test="message"]').length > count
                || !document.querySelector('[data-test="beginning"]').hidden,
            before,
        );
    }

    /** Sees it, if need be beyond a gap: a batch after an outage may hold only the newest messages. */
    async findsInThePast(text) {
        while ((await this.message(text).count()) === 0 && !(await this.at("beginning").isVisible())) await this.loadOlder();
        await this.sees(text);
    }

    /** Presses a button of a message; it appears under the pointer. */
    async press(button, text) {
        await this.message(text).hover();
        await this.message(text).locator(hook(button)).first().click();
    }

    screenshot(options) {
        return this.page.screenshot(options);
    }

    leave() {
        return this.browser?.close();
    }
}
