//! Methods that Core's help lists under "Control".

use netsplit_api::rpc::{RpcError, code};

use super::{Answer, Params, View, answer, help as texts, table};

pub(super) fn uptime(view: &View<'_>, _: &Params) -> Answer {
    answer(&view.clock.uptime().as_secs())
}

pub(super) fn help(_: &View<'_>, params: &Params) -> Answer {
    let Some(name) = params.text(0)? else {
        return answer(&texts::overview());
    };
    match table::find(name) {
        Some(method) => answer(&method.help()),
        None => Err(RpcError::new(
            code::MISC_ERROR,
            format!("help: unknown command: {name}"),
        )),
    }
}
