//! One server without an edge, and a push gateway, a push service and a mail server that do what a test
//! says.

mod app;
mod badges;
mod delivery;
mod faults;
mod gateway;
mod mails;
mod notifications;
mod postbox;
mod web_push;
mod world;
