//! What things are in the engine's own words.

use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, EndpointIpamConfig,
    EndpointSettings, HostConfig, HostConfigLogConfig, ImageInspect, Ipam, IpamConfig, Network,
    NetworkCreateRequest, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};

use super::{
    client::DEFAULT_SOCKET,
    engine::{
        Attachment, ContainerInfo, ContainerSpec, ContainerState, ImageInfo, NetworkInfo,
        NetworkSpec, Stdin,
    },
};

pub(super) fn image_info(reference: &str, image: ImageInspect) -> ImageInfo {
    let tagged = image.metadata.and_then(|metadata| metadata.last_tag_time);
    ImageInfo {
        reference: reference.to_owned(),
        // An engine that does not know answers with the year 1.
        tagged: tagged
            .and_then(|at| u64::try_from(at.timestamp()).ok())
            .filter(|at| *at > 0),
    }
}

pub(super) fn network_info(network: Network) -> Option<NetworkInfo> {
    let configs = network
        .ipam
        .and_then(|ipam| ipam.config)
        .unwrap_or_default();
    Some(NetworkInfo {
        id: network.id?,
        name: network.name?,
        labels: network.labels.unwrap_or_default().into_iter().collect(),
        subnets: configs
            .into_iter()
            .filter_map(|config| config.subnet?.parse().ok())
            .collect(),
    })
}

pub(super) fn container_info(container: ContainerSummary) -> Option<ContainerInfo> {
    use ContainerSummaryStateEnum as State;
    let name = container.names?.into_iter().next()?;
    Some(ContainerInfo {
        id: container.id?,
        name: name.trim_start_matches('/').to_owned(),
        labels: container.labels.unwrap_or_default().into_iter().collect(),
        state: match container.state? {
            State::EMPTY | State::CREATED => ContainerState::Created,
            State::RUNNING | State::RESTARTING => ContainerState::Running,
            State::PAUSED => ContainerState::Paused,
            State::EXITED | State::REMOVING | State::DEAD | State::STOPPING => {
                ContainerState::Exited
            }
        },
    })
}

pub(super) fn network_request(spec: &NetworkSpec) -> NetworkCreateRequest {
    let options = [(
        "com.docker.network.bridge.name".to_owned(),
        spec.device.clone(),
    )];
    NetworkCreateRequest {
        name: spec.name.clone(),
        driver: Some("bridge".into()),
        internal: Some(true),
        enable_ipv6: Some(false),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(spec.subnet.to_string()),
                gateway: Some(spec.subnet.host(1).to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        options: Some(options.into()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        ..NetworkCreateRequest::default()
    }
}

pub(super) fn container_body(spec: &ContainerSpec) -> ContainerCreateBody {
    let streams = spec.stdin != Stdin::Closed;
    let mut command = spec.command.iter().cloned();
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: Some(command.by_ref().take(1).collect()),
        cmd: Some(command.collect()),
        env: Some(spec.env.clone()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        attach_stdin: Some(streams),
        attach_stdout: Some(streams),
        attach_stderr: Some(streams),
        open_stdin: Some(streams),
        stdin_once: Some(spec.stdin == Stdin::Once),
        stop_timeout: Some(1),
        host_config: Some(host_config(spec)),
        networking_config: networking(spec),
        ..ContainerCreateBody::default()
    }
}

fn networking(spec: &ContainerSpec) -> Option<NetworkingConfig> {
    let Attachment::Network { name, address } = &spec.network else {
        return None;
    };
    let ipam = EndpointIpamConfig {
        ipv4_address: Some(address.to_string()),
        ..EndpointIpamConfig::default()
    };
    let endpoint = EndpointSettings {
        ipam_config: Some(ipam),
        ..EndpointSettings::default()
    };
    Some(NetworkingConfig {
        endpoints_config: Some([(name.clone(), endpoint)].into()),
    })
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    // A stream's owner reads the output; everything else keeps a bounded log for people.
    let log = if spec.stdin == Stdin::Closed {
        let caps = [("max-size", "4m"), ("max-file", "2"), ("compress", "false")];
        let caps = caps.map(|(key, value)| (key.to_owned(), value.to_owned()));
        HostConfigLogConfig {
            typ: Some("local".into()),
            config: Some(caps.into()),
        }
    } else {
        HostConfigLogConfig {
            typ: Some("none".into()),
            config: None,
        }
    };
    let mut security = vec!["no-new-privileges".to_owned()];
    if spec.socket.is_some() {
        // SELinux keeps labelled containers from the engine's socket.
        security.push("label=disable".to_owned());
    }
    // An engine that maps users must not map those that need the host's network or the engine's socket.
    let privileged = spec.socket.is_some() || spec.network == Attachment::Host;
    HostConfig {
        network_mode: Some(match &spec.network {
            Attachment::None => "none".to_owned(),
            Attachment::Host => "host".to_owned(),
            Attachment::Network { name, .. } => name.clone(),
        }),
        log_config: Some(log),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        init: Some(false),
        auto_remove: Some(spec.auto_remove),
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: Some(
            spec.capabilities
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
        ),
        security_opt: Some(security),
        userns_mode: privileged.then(|| "host".to_owned()),
        pids_limit: Some(spec.pids),
        memory: spec.memory,
        binds: spec
            .socket
            .as_ref()
            .map(|path| vec![format!("{path}:{DEFAULT_SOCKET}")]),
        ..HostConfig::default()
    }
}
