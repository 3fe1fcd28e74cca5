// A third person, at a plain HTTP client: writes while the browsers are cut off.

import { expect } from "../steps.mjs";

const AGAIN_MS = 100;

export class Writer {
    #transactions = 0;

    constructor(server, name) {
        this.server = server;
        this.name = name;
    }

    async #call(method, path, body) {
        const headers = { "content-type": "application/json" };
        if (this.token) headers.authorization = `Bearer ${this.token}`;
        const response = await fetch(`${this.server}/_matrix/client/v3${path}`, { method, headers, body: JSON.stringify(body) });
        return { status: response.status, body: await response.json() };
    }

    async register() {
        const auth = { type: "m.login.dummy" };
        const { status, body } = await this.#call("POST", "/register", { username: this.name, password: "correct horse", auth });
        expect(status === 200, `register: ${status} ${JSON.stringify(body)}`);
        this.token = body.access_token;
    }

    async join(roomId) {
        const { status, body } = await this.#call("POST", `/join/${encodeURIComponent(roomId)}`, {});
        expect(status === 200, `join: ${status} ${JSON.stringify(body)}`);
    }

    /** Tries until it is acknowledged, always with the same transaction id. */
    async say(roomId, text) {
        const path = `/rooms/${encodeURIComponent(roomId)}/send/m.room.message/w${(this.#transactions += 1)}`;
        for (;;) {
            try {
                const { status, body } = await this.#call("PUT", path, { msgtype: "m.text", body: text });
                if (status === 200) return;
                expect(status === 429 || status >= 500, `send: ${status} ${JSON.stringify(body)}`);
            } catch (error) {
                if (!(error instanceof TypeError)) throw error; // what fetch throws without a connection
            }
            await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
        }
    }

    async isTokenDead(token) {
        const headers = { authorization: `Bearer ${token}` };
        const response = await fetch(`${this.server}/_matrix/client/v3/account/whoami`, { headers });
        return response.status === 401 && (await response.json()).errcode === "M_UNKNOWN_TOKEN";
    }
}
