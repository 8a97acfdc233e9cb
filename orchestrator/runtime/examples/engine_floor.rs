//! What the engine itself needs, without netsplit: create a network, create and start containers, remove them by force.
//!
//! `engine_floor IMAGE COUNT LOG_DRIVER SUBNET [ENTRYPOINT [ARGUMENT...]]` prints milliseconds as JSON. The baseline of `ci/bench`:
//! the same engine, image, log driver, static addresses and number of calls in flight as a run of netsplit has.

use std::{collections::HashMap, error::Error, net::Ipv4Addr, time::Instant};

use bollard::{
    Docker,
    models::{
        ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig,
        Ipam, IpamConfig, NetworkCreateRequest, NetworkingConfig,
    },
    query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

const IN_FLIGHT: usize = 8;

struct Floor {
    docker: Docker,
    /// Name of the network, and prefix of the containers' names.
    name: String,
    image: String,
    count: u8,
    log_driver: String,
    base: Ipv4Addr,
    entrypoint: Vec<String>,
}

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, count, log_driver, subnet, entrypoint @ ..] = arguments.as_slice() else {
        return Err("usage: engine_floor IMAGE COUNT LOG_DRIVER SUBNET [ENTRYPOINT...]".into());
    };
    let base = subnet.split('/').next().ok_or("no subnet")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let floor = Floor {
            docker: Docker::connect_with_defaults()?.negotiate_version().await?,
            name: format!("netsplit-bench-floor-{}", std::process::id()),
            image: image.clone(),
            count: count.parse()?,
            log_driver: log_driver.clone(),
            base,
            entrypoint: entrypoint.to_vec(),
        };
        match floor.measure(subnet).await {
            Ok((created, up, down)) => write_json(created, up, down),
            Err(error) => {
                // Whatever was made; some of it may not be there.
                let _ = floor.remove().await;
                let _ = floor.docker.remove_network(&floor.name).await;
                Err(error)
            }
        }
    })
}

#[expect(clippy::print_stdout, reason = "the result")]
fn write_json(created: f64, up: f64, down: f64) -> Outcome<()> {
    println!(
        "{}",
        serde_json::to_string(
            &serde_json::json!({ "created_ms": created, "up_ms": up, "down_ms": down })
        )?
    );
    Ok(())
}

impl Floor {
    async fn measure(&self, subnet: &str) -> Outcome<(f64, f64, f64)> {
        let begin = Instant::now();
        self.create_network(subnet).await?;
        stream::iter(0..self.count)
            .map(|index| self.create(index))
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<()>>()
            .await?;
        let created = begin.elapsed().as_secs_f64() * 1e3;
        stream::iter(0..self.count)
            .map(|index| async move {
                let name = self.container(index);
                self.docker.start_container(&name, None).await
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<()>>()
            .await?;
        let up = begin.elapsed().as_secs_f64() * 1e3;
        let begin = Instant::now();
        self.remove().await?;
        self.docker.remove_network(&self.name).await?;
        Ok((created, up, begin.elapsed().as_secs_f64() * 1e3))
    }

    async fn create_network(&self, subnet: &str) -> Outcome<()> {
        let pool = IpamConfig {
            subnet: Some(subnet.to_owned()),
            ..Default::default()
        };
        let request = NetworkCreateRequest {
            name: self.name.clone(),
            driver: Some("bridge".to_owned()),
            internal: Some(true),
            ipam: Some(Ipam {
                config: Some(vec![pool]),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.docker.create_network(request).await?;
        Ok(())
    }

    async fn create(&self, index: u8) -> Outcome<()> {
        let address = Ipv4Addr::from_bits(self.base.to_bits() + 2 + u32::from(index));
        let endpoint = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(address.to_string()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: (!self.entrypoint.is_empty()).then(|| self.entrypoint.clone()),
            open_stdin: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some(self.name.clone()),
                log_config: Some(HostConfigLogConfig {
                    typ: Some(self.log_driver.clone()),
                    config: None,
                }),
                ..Default::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(self.name.clone(), endpoint)])),
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default()
            .name(&self.container(index))
            .build();
        self.docker.create_container(Some(options), body).await?;
        Ok(())
    }

    /// Removes all containers; goes on when one cannot be removed, and tells of the first of those.
    async fn remove(&self) -> Outcome<()> {
        let results: Vec<_> = stream::iter(0..self.count)
            .map(|index| async move {
                let options = RemoveContainerOptionsBuilder::default().force(true).build();
                let name = self.container(index);
                self.docker.remove_container(&name, Some(options)).await
            })
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    }

    fn container(&self, index: u8) -> String {
        format!("{}-{index}", self.name)
    }
}
