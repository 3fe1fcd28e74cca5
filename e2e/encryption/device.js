// One device of matrix-js-sdk with the rust cryptography, set up as Element Web does; its methods are the commands of host.mjs.

import { ClientEvent } from "matrix-js-sdk";
import { CryptoEvent, EventShieldColour, EventShieldReason, VerificationPhase, decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api";

import { Person } from "../js-sdk/person.js";
import { expect } from "../steps.mjs";

const PATIENCE_MS = 28_000;
const SAS = "m.sas.v1";
const ENCRYPTION = { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } };

const MAC = "m.key.verification.mac";

class Device extends Person {
    incoming = [];
    /** The verifications of which the other side's mac was taken in. */
    macs = new Set();

    async logIn({ server, name }) {
        this.server = server;
        this.name = name;
        await super.logIn({ cryptoCallbacks: { getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], this.secretKey] } });
        await this.client.initRustCrypto();
        this.client.on(CryptoEvent.VerificationRequestReceived, (request) => this.incoming.push(request));
        this.watchMacs();
        const { user_id: user, device_id: device, access_token: token } = this.session;
        return { user, device, token };
    }

    async sync() {
        await this.start();
        // Element asks before it offers to verify: what is known of the user's own keys decides what it offers.
        await this.crypto.userHasCrossSigningKeys(this.id, true);
    }

    get crypto() {
        return this.client.getCrypto();
    }

    /** Cross-signing, secret storage and a key backup: what Element asks for after the first log-in. */
    async setUpEncryption() {
        // The first keys of a user need no further authentication (MSC3967), so none is offered.
        await this.crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: (makeRequest) => makeRequest(null) });
        const key = await this.crypto.createRecoveryKeyFromPassphrase();
        this.secretKey = key.privateKey;
        await this.crypto.bootstrapSecretStorage({
            createSecretStorageKey: async () => key,
            setupNewSecretStorage: true,
            setupNewKeyBackup: true,
        });
        expect(await this.crypto.isCrossSigningReady(), "cross-signing is not ready");
        expect(await this.crypto.isSecretStorageReady(), "secret storage is not ready");
        expect(await this.crypto.getActiveSessionBackupVersion(), "no key backup is active");
        return { recoveryKey: key.encodedPrivateKey };
    }

    /** What a new device does with the recovery key: signs itself, and fetches all keys of the past. */
    async recover({ recoveryKey }) {
        this.secretKey = decodeRecoveryKey(recoveryKey);
        await this.crypto.bootstrapCrossSigning({});
        await this.crypto.loadSessionBackupPrivateKeyFromSecretStorage();
        expect((await this.crypto.checkKeyBackupAndEnable())?.trustInfo.matchesDecryptionKey, "the backup is not of this key");
        await this.crypto.restoreKeyBackup();
    }

    async createRoom({ name, invite }) {
        const { room_id: room } = await this.client.createRoom({
            name,
            invite: [invite],
            is_direct: true,
            preset: "trusted_private_chat",
            initial_state: [ENCRYPTION],
        });
        await this.client.setAccountData("m.direct", { [invite]: [room] });
        await this.until("the room it made", () => this.room(room)?.hasEncryptionStateEvent());
        return { room };
    }

    async join({ room }) {
        await this.until("the invite", () => this.room(room)?.getMyMembership() === "invite");
        await this.client.joinRoom(room);
        await this.until("the joined room", () => this.room(room).getMyMembership() === "join");
    }

    async untilJoined({ room, members }) {
        await this.until(`${members} members`, () => this.room(room)?.getJoinedMemberCount() === members);
    }

    async say({ room, body }) {
        await this.until("the room", () => this.room(room)?.hasEncryptionStateEvent());
        return { event: await super.say(room, body) };
    }

    /** Waits until the event can be read; what it says, and whether the SDK warns of it. */
    async hear({ room, event: id }) {
        const event = await this.untilEvent(room, id);
        await this.decrypted(event, `the text of ${id}`);
        const { shieldColour, shieldReason } = await this.crypto.getEncryptionInfoForEvent(event);
        // A key that came from the backup, where the user's other device was faster than the message with the key.
        const isFine = shieldColour === EventShieldColour.NONE || shieldReason === EventShieldReason.AUTHENTICITY_NOT_GUARANTEED;
        return { body: event.getContent().body, sender: event.getSender(), warning: isFine ? null : EventShieldReason[shieldReason] };
    }

    /** The whole history, oldest first; a message that cannot be read has no body. */
    async readBack({ room: roomId }) {
        await this.until("the room", () => this.room(roomId));
        const room = this.room(roomId);
        while (room.oldState.paginationToken !== null) await this.client.scrollback(room, 30);
        const messages = this.events(roomId).filter((event) => event.getWireType() === "m.room.encrypted" && !event.isRedacted());
        await Promise.all(messages.map((event) => this.client.decryptEventIfNeeded(event)));
        const said = messages.filter((event) => event.isDecryptionFailure() || event.getContent().msgtype === "m.text");
        return { messages: said.map((event) => ({ event: event.getId(), body: event.isDecryptionFailure() ? null : event.getContent().body })) };
    }

    /** A request to verify of a device that is not known yet is ignored by the SDK: a person is slower than that. */
    async untilKnows({ user, device }) {
        await eventually(`the device ${device}`, async () => (await this.crypto.getUserDeviceInfo([user])).get(user)?.has(device));
    }

    async askToVerify({ user, room }) {
        this.request =
            user === this.id ? await this.crypto.requestOwnUserVerification() : await this.crypto.requestVerificationDM(user, room);
        return { flow: this.request.transactionId };
    }

    async answerVerification({ flow }) {
        const asked = () => this.incoming.find((request) => request.transactionId === flow);
        this.request = await eventually("the request to verify", asked);
        await this.request.accept();
    }

    async startSas() {
        await this.phase(VerificationPhase.Ready);
        this.verifying = (await this.request.startVerification(SAS)).verify();
    }

    async emojis() {
        const verifier = await eventually("the verification", () => this.request.verifier);
        this.verifying ??= verifier.verify();
        this.sas = await eventually("the emojis", () => verifier.getShowSasCallbacks());
        return { emojis: this.sas.sas.emoji.map(([symbol]) => symbol) };
    }

    async confirm() {
        await this.sas.confirm();
    }

    async untilVerified() {
        await this.verifying;
        await this.phase(VerificationPhase.Done);
        this.verifying = this.sas = this.request = undefined;
    }

    /** Until the other side has said yes, and this side knows it. */
    async untilMac() {
        await eventually("the other side's mac", () => this.macs.has(this.request.transactionId));
    }

    /** The SDK has no word for it. What comes in a room is only known to the cryptography after the event was told. */
    watchMacs() {
        this.client.on(ClientEvent.ReceivedToDeviceMessage, ({ message }) => {
            if (message.type === MAC) this.macs.add(message.content.transaction_id);
        });
        const machine = this.crypto.olmMachine;
        const receive = machine.receiveVerificationEvent.bind(machine);
        machine.receiveVerificationEvent = async (json, room) => {
            await receive(json, room);
            const event = JSON.parse(json);
            if (event.type === MAC && event.sender !== this.id) this.macs.add(event.content["m.relates_to"].event_id);
        };
    }

    /** Until the user is verified here, and each of these devices by the user's own signature. */
    async untilTrusts({ user, devices }) {
        await eventually(`trust in ${user} with ${devices}`, async () => {
            if (!(await this.crypto.getUserVerificationStatus(user)).isCrossSigningVerified()) return false;
            for (const device of devices) {
                if (!(await this.crypto.getDeviceVerificationStatus(user, device))?.crossSigningVerified) return false;
            }
            return true;
        });
    }

    async logOut() {
        await this.client.logout(true);
    }

    async phase(phase) {
        await eventually(`phase ${phase}`, () => {
            expect(this.request.phase !== VerificationPhase.Cancelled, `the verification was cancelled: ${this.request.cancellationCode}`);
            return this.request.phase === phase;
        });
    }

    async decrypted(event, what) {
        await eventually(what, () => {
            const read = event.isEncrypted() && !event.isBeingDecrypted() && !event.isDecryptionFailure();
            return read && event.getType() === "m.room.message";
        }, () => event.decryptionFailureReason);
    }
}

/** For facts of the cryptography, not all of which the SDK tells. */
async function eventually(what, holds, why = () => "") {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
        const value = await holds();
        if (value) return value;
        if (performance.now() > deadline) throw new Error(`never saw ${what} ${why() ?? ""}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

globalThis.device = new Device();
