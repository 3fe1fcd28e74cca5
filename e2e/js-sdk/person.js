// One user of matrix-js-sdk: a client set up as Element Web does, and a record of what came over the wire.

import {
    ClientEvent,
    Direction,
    MatrixEventEvent,
    PendingEventOrdering,
    RoomEvent,
    RoomMemberEvent,
    RoomStateEvent,
    SyncState,
    UserEvent,
    createClient,
} from "matrix-js-sdk";

import { expect } from "../steps.mjs";

const PASSWORD = "correct horse battery staple";
const PATIENCE_MS = 28_000;
const TELLING = [
    ClientEvent.Sync,
    ClientEvent.Room,
    ClientEvent.Event,
    RoomEvent.Timeline,
    RoomEvent.Receipt,
    RoomEvent.Redaction,
    RoomEvent.MyMembership,
    RoomEvent.Name,
    RoomEvent.UnreadNotifications,
    RoomMemberEvent.Typing,
    RoomMemberEvent.Membership,
    RoomMemberEvent.Name,
    RoomStateEvent.Events,
    UserEvent.Presence,
    MatrixEventEvent.Replaced,
];

export class Person {
    // Event ids of all timelines as the server sent them: the SDK would hide a repetition.
    delivered = [];
    gaps = 0;

    constructor(server, name) {
        this.server = server;
        this.name = name;
    }

    async register() {
        const anonymous = createClient({ baseUrl: this.server });
        const wish = { username: this.name, password: PASSWORD, inhibit_login: true };
        const challenge = await anonymous.registerRequest(wish).then(
            () => expect(false, "registered without authentication"),
            (error) => error,
        );
        expect(challenge.httpStatus === 401 && challenge.data.session, `no UIA challenge but ${challenge}`);
        const flows = challenge.data.flows.map((flow) => flow.stages.join("+"));
        expect(flows.includes("m.login.dummy"), `the flows are ${flows}`);
        const auth = { type: "m.login.dummy", session: challenge.data.session };
        const response = await anonymous.registerRequest({ ...wish, auth });
        expect(response.user_id?.startsWith(`@${this.name}:`), `registered as ${response.user_id}`);
    }

    async logIn(options = {}) {
        const session = await createClient({ baseUrl: this.server }).loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user: this.name },
            password: PASSWORD,
            initial_device_display_name: "js-sdk",
        });
        this.session = session;
        this.client = createClient({
            baseUrl: this.server,
            userId: session.user_id,
            deviceId: session.device_id,
            accessToken: session.access_token,
            timelineSupport: true,
            fetchFn: (resource, init) => this.fetch(resource, init),
            ...options,
        });
    }

    async fetch(resource, options) {
        // Three users in one browser ask for the same address: the browser's cache would make them wait for each other.
        const response = await fetch(resource, { ...options, cache: "no-store" });
        if (new URL(resource).pathname.endsWith("/sync") && response.ok) {
            const { rooms } = await response.clone().json();
            for (const room of Object.values(rooms?.join ?? {})) {
                this.gaps += room.timeline?.limited ? 1 : 0;
                this.delivered.push(...(room.timeline?.events ?? []).map((event) => event.event_id));
            }
        }
        return response;
    }

    async start(initialSyncLimit = 100) {
        await this.client.startClient({
            initialSyncLimit,
            lazyLoadMembers: true,
            threadSupport: true,
            pendingEventOrdering: PendingEventOrdering.Detached,
        });
        await this.until("its first sync", () => this.client.isInitialSyncComplete());
    }

    get id() {
        return this.session.user_id;
    }

    room(roomId) {
        return this.client.getRoom(roomId);
    }

    /** Waits for the fact: looks again after everything the SDK tells. */
    until(what, holds) {
        return new Promise((resolve, reject) => {
            const look = () => {
                let value;
                try {
                    value = holds();
                } catch (error) {
                    end(() => reject(error));
                    return;
                }
                if (value) end(() => resolve(value));
            };
            const late = setTimeout(() => {
                const state = `${this.client.getSyncState()} ${this.client.getSyncStateData()?.error ?? ""}`;
                end(() => reject(new Error(`${this.name} never saw ${what} (sync: ${state})`)));
            }, PATIENCE_MS);
            const end = (settle) => {
                clearTimeout(late);
                for (const event of TELLING) this.client.off(event, look);
                settle();
            };
            for (const event of TELLING) this.client.on(event, look);
            look();
        });
    }

    untilEvent(roomId, eventId) {
        return this.until(`the event ${eventId}`, () => this.room(roomId)?.findEventById(eventId));
    }

    /** From the oldest to the newest, over gaps that were filled: the SDK keeps a timeline for each side of one. */
    events(roomId) {
        const events = [];
        let timeline = this.room(roomId)?.getLiveTimeline();
        while (timeline) {
            events.unshift(...timeline.getEvents());
            timeline = timeline.getNeighbouringTimeline(Direction.Backward);
        }
        return events;
    }

    bodies(roomId, prefix) {
        return this.events(roomId)
            .map((event) => event.getContent().body ?? "")
            .filter((body) => body.startsWith(prefix));
    }

    duplicates() {
        return this.delivered.filter((id, index) => this.delivered.indexOf(id) !== index);
    }

    async say(roomId, body) {
        return (await this.client.sendTextMessage(roomId, body)).event_id;
    }

    /** What Element does with a message that could not be sent: once it syncs again, the same one, the same transaction. */
    async sayThroughAnOutage(roomId, body) {
        const room = this.room(roomId);
        let send = () => this.say(roomId, body);
        for (;;) {
            const syncsAgain = this.nextSync();
            try {
                await send();
                return;
            } catch {
                const event = room.getPendingEvents().find((pending) => pending.getContent().body === body);
                // Its echo came before the connection broke.
                if (!event && this.bodies(roomId, body).length > 0) return;
                expect(event, `the message "${body}" failed and is not pending`);
                await syncsAgain;
                send = () => this.client.resendEvent(event, room);
            }
        }
    }

    nextSync() {
        return new Promise((resolve) => {
            const look = (state) => {
                if (state !== SyncState.Syncing) return;
                this.client.off(ClientEvent.Sync, look);
                resolve();
            };
            this.client.on(ClientEvent.Sync, look);
        });
    }
}
