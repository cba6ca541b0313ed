//! A shop: products and orders, with two read sides, HTTP routes and API keys.
//!
//! Run it: `cargo run -p actum --example shop --features web,testing`. The log is in `shop.db`.
//! API keys are read from `keys.jsonl` if it exists; otherwise only this machine reaches it.
//! Test it: the same with `cargo test`. The bank is the larger example.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use actum::web::{
    ApiKeys, CommandAnswer, CommandTo, DocumentAnswer, Freshness, JsonBody, NoBody, Principal,
    Problem, Routes, Server,
};
use actum::{
    Aggregate, AnyStore, Application, ApplicationBuilder, BoxError, EventEnvelope, EventSources,
    Fold, Projection, ReadModel, RefusalCode, Sources, SqlConnection,
};
use serde::{Deserialize, Serialize};

// Products: what the shop sells, and for how much.

#[derive(Debug, Default, Clone)]
struct Product {
    cents: Option<u32>,
}

#[derive(Debug, Clone)]
enum ProductCommand {
    Offer { cents: u32 },
    Withdraw,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum ProductEvent {
    Offered { cents: u32 },
    Withdrawn,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
enum ProductRefusal {
    #[error("a price is above zero")]
    InvalidPrice,
}

impl RefusalCode for ProductRefusal {}

impl Aggregate for Product {
    const TYPE: &'static str = "product";
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Error = ProductRefusal;

    fn handle(&self, command: ProductCommand) -> Result<Vec<ProductEvent>, ProductRefusal> {
        match command {
            ProductCommand::Offer { cents: 0 } => Err(ProductRefusal::InvalidPrice),
            ProductCommand::Offer { cents } if self.cents == Some(cents) => Ok(vec![]),
            ProductCommand::Offer { cents } => Ok(vec![ProductEvent::Offered { cents }]),
            ProductCommand::Withdraw if self.cents.is_none() => Ok(vec![]),
            ProductCommand::Withdraw => Ok(vec![ProductEvent::Withdrawn]),
        }
    }

    fn apply(&mut self, event: &ProductEvent) {
        self.cents = match event {
            ProductEvent::Offered { cents } => Some(*cents),
            ProductEvent::Withdrawn => None,
        };
    }
}

// Orders: what a customer has bought.

#[derive(Debug, Default, Clone)]
struct Order {
    placed: Option<Placed>,
    is_paid: bool,
}

/// Each event names the customer, because the read model is keyed by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Placed {
    customer: String,
    product: String,
    pieces: u32,
    cents: u64,
}

#[derive(Debug, Clone)]
enum OrderCommand {
    /// The price is looked up before, because a decision may only depend on command and state.
    Place(Placed),
    Pay,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    Placed(Placed),
    Paid(Placed),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
enum OrderRefusal {
    #[error("there is no such order")]
    UnknownOrder,
    #[error("the order was placed before")]
    AlreadyPlaced,
    #[error("an order is for 1 to 100 pieces")]
    InvalidPieces,
}

impl RefusalCode for OrderRefusal {}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = OrderRefusal;

    fn handle(&self, command: OrderCommand) -> Result<Vec<OrderEvent>, OrderRefusal> {
        match (command, &self.placed) {
            (OrderCommand::Place(_), Some(_)) => Err(OrderRefusal::AlreadyPlaced),
            (OrderCommand::Place(placed), None) if !(1..=100).contains(&placed.pieces) => {
                Err(OrderRefusal::InvalidPieces)
            }
            (OrderCommand::Place(placed), None) => Ok(vec![OrderEvent::Placed(placed)]),
            (OrderCommand::Pay, None) => Err(OrderRefusal::UnknownOrder),
            (OrderCommand::Pay, Some(_)) if self.is_paid => Ok(vec![]),
            (OrderCommand::Pay, Some(placed)) => Ok(vec![OrderEvent::Paid(placed.clone())]),
        }
    }

    /// For a client, other customers' orders do not exist. The shop itself acts without an actor.
    fn authorise(&self, actor: &str, command: &OrderCommand) -> Result<(), OrderRefusal> {
        let customer = match command {
            OrderCommand::Place(placed) => Some(&placed.customer),
            OrderCommand::Pay => self.placed.as_ref().map(|placed| &placed.customer),
        };
        match customer {
            Some(customer) if customer == actor => Ok(()),
            _ => Err(OrderRefusal::UnknownOrder),
        }
    }

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed(placed) => self.placed = Some(placed.clone()),
            OrderEvent::Paid(_) => self.is_paid = true,
        }
    }
}

// A read model, keyed by the content of the events: one document for each customer.

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Customer {
    owed: BTreeMap<String, u64>,
    paid: u64,
}

impl ReadModel for Customer {
    const NAME: &'static str = "customer";

    fn sources() -> Sources<Self> {
        Sources::by::<Order>(|event| match &event.event {
            OrderEvent::Placed(placed) | OrderEvent::Paid(placed) => Some(placed.customer.clone()),
        })
    }
}

impl Fold<Order> for Customer {
    fn apply(&mut self, envelope: &EventEnvelope<OrderEvent>) {
        let order = envelope.stream.id();
        match &envelope.event {
            OrderEvent::Placed(placed) => drop(self.owed.insert(order.to_owned(), placed.cents)),
            OrderEvent::Paid(placed) => {
                self.owed.remove(order);
                self.paid += placed.cents;
            }
        }
    }
}

// A projection: a table of the shop's own, for questions across all orders.

struct Sales; // sold pieces and paid cents per product

#[async_trait::async_trait]
impl Projection for Sales {
    const NAME: &'static str = "sales";
    type Event = EventEnvelope<OrderEvent>;

    fn sources() -> EventSources<Self::Event> {
        EventSources::of::<Order>()
    }

    async fn create(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        let table = "CREATE TABLE sales (
            product TEXT PRIMARY KEY, pieces BIGINT NOT NULL, cents BIGINT NOT NULL)";
        db.execute(table, &[]).await?;
        Ok(())
    }

    async fn project(events: &[Self::Event], db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
        for event in events {
            let OrderEvent::Paid(placed) = &event.event else { continue };
            let cents = i64::try_from(placed.cents)?;
            let values = [(&*placed.product).into(), i64::from(placed.pieces).into(), cents.into()];
            db.execute(
                "INSERT INTO sales VALUES ($1, $2, $3) ON CONFLICT (product) DO UPDATE
                 SET pieces = sales.pieces + excluded.pieces, cents = sales.cents + excluded.cents",
                &values,
            )
            .await?;
        }
        Ok(())
    }
}

// The routes, with the scope that each needs.

const SELL: &str = "shop:sell"; // the staff
const BUY: &str = "shop:buy"; // customers

type Answer<T = CommandAnswer> = Result<T, Problem>;
type Shop = Data<Application>;

#[derive(Serialize, Deserialize)]
struct Price {
    cents: u32,
}

#[derive(Serialize, Deserialize)]
struct Buying {
    id: Option<String>,
    product: String,
    pieces: u32,
}

async fn offer(product: CommandTo<Product>, body: JsonBody<Price>) -> Answer {
    product.execute(ProductCommand::Offer { cents: body.cents }, &body).await
}

async fn withdraw(product: CommandTo<Product>, _: NoBody) -> Answer {
    product.execute(ProductCommand::Withdraw, &()).await
}

async fn place(
    shop: Shop,
    by: Principal,
    order: CommandTo<Order>,
    body: JsonBody<Buying>,
) -> Answer {
    let product = shop.load::<Product>(&body.product).await?;
    let price = product.state.cents.ok_or_else(Problem::unknown::<Product>)?;
    let placed = Placed {
        customer: by.id,
        product: body.product.clone(),
        pieces: body.pieces,
        cents: u64::from(price) * u64::from(body.pieces),
    };
    let answer = order.with_id(body.id.clone()).execute(OrderCommand::Place(placed), &body).await?;
    Ok(answer.created_at("/orders/"))
}

async fn pay(order: CommandTo<Order>, _: NoBody) -> Answer {
    order.execute(OrderCommand::Pay, &()).await
}

/// Returns the client's own document. The path has no id, so no other one can be requested.
async fn my_orders(
    shop: Shop,
    by: Principal,
    freshness: Freshness,
) -> Answer<DocumentAnswer<Customer>> {
    Ok(freshness.read(&shop, &by.id).await?)
}

/// Product, pieces and cents of each row.
async fn sales(shop: Shop) -> Answer<Json<Vec<(String, i64, i64)>>> {
    let sales = shop.query::<Sales>().run(async |db, _| {
        let rows =
            db.rows("SELECT product, pieces, cents FROM sales ORDER BY product", &[]).await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
    });
    Ok(Json(sales.await?))
}

fn routes() -> Routes {
    Routes::new()
        .put("/products/{id}", offer)
        .needs(SELL)
        .delete("/products/{id}", withdraw)
        .needs(SELL)
        .post("/orders", place)
        .needs(BUY)
        .post("/orders/{id}/pay", pay)
        .needs(BUY)
        .get("/orders", my_orders)
        .needs(BUY)
        .get("/sales", sales)
        .needs(SELL)
}

fn application(store: impl Into<AnyStore>) -> ApplicationBuilder {
    Application::builder(store)
        .aggregate::<Product>()
        .aggregate::<Order>()
        .read_model::<Customer>()
        .projection::<Sales>()
}

#[actix_web::main]
async fn main() -> Result<(), BoxError> {
    let app = application(actum::open("sqlite:shop.db").await?).start().await?;
    let mut server = Server::new(app).routes(routes()).serve("127.0.0.1:8080");
    if std::fs::exists("keys.jsonl")? {
        server = server.auth(ApiKeys::file("keys.jsonl")?);
    }
    server.run().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use actix_web::App;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use actum::testing::{ProjectionScenario, ReadModelScenario, Scenario};
    use actum::web::Access;
    use serde_json::{Value, json};

    use super::*;

    fn tea(customer: &str, pieces: u32) -> Placed {
        let cents = u64::from(pieces) * 300;
        Placed { customer: customer.into(), product: "tea".into(), pieces, cents }
    }

    #[test]
    fn an_order_is_placed_once_and_paid() {
        let placed = OrderEvent::Placed(tea("ada", 2));
        Scenario::<Order>::given([placed.clone()])
            .when(OrderCommand::Place(tea("ada", 1)))
            .then_refused(OrderRefusal::AlreadyPlaced);
        Scenario::<Order>::given([placed])
            .when(OrderCommand::Pay)
            .then([OrderEvent::Paid(tea("ada", 2))]);
    }

    #[test]
    fn a_customer_owes_what_was_ordered_and_not_paid() {
        ReadModelScenario::<Customer>::given::<Order>([
            ("1", OrderEvent::Placed(tea("ada", 1))),
            ("2", OrderEvent::Placed(tea("ada", 2))),
            ("3", OrderEvent::Placed(tea("bob", 5))),
            ("1", OrderEvent::Paid(tea("ada", 1))),
        ])
        .then("ada", Customer { owed: [("2".into(), 600)].into(), paid: 300 });
    }

    #[test]
    fn sales_are_what_was_paid() {
        ProjectionScenario::<Sales>::given::<Order>([
            ("1", OrderEvent::Placed(tea("ada", 1))),
            ("1", OrderEvent::Paid(tea("ada", 1))),
            ("2", OrderEvent::Placed(tea("bob", 5))),
            ("3", OrderEvent::Paid(tea("bob", 2))),
        ])
        .then("SELECT product, pieces, cents FROM sales", [("tea", 3, 900)]);
    }

    #[actix_web::test]
    async fn an_order_over_http_takes_the_price_of_its_product() {
        let folder = std::env::temp_dir().join(format!("shop-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let store = actum::open(&format!("sqlite:{}/shop.db", folder.display())).await.unwrap();
        let app = application(store).start().await.unwrap();
        let served = routes().serve(app.clone(), Access::dev());
        let shop = init_service(App::new().configure(served)).await;
        let send = async |request: TestRequest| {
            let response = call_service(&shop, request.to_request()).await;
            (response.status().as_u16(), read_body_json::<Value, _>(response).await)
        };
        let body = json!({ "id": "1", "product": "tea", "pieces": 2 });
        let order = || TestRequest::post().uri("/orders").set_json(&body);
        assert_eq!(send(order()).await.1["code"], "unknown_product");
        let price = TestRequest::put().uri("/products/tea").set_json(json!({ "cents": 300 }));
        assert_eq!(send(price).await.0, 200);
        let (status, placed) = send(order()).await;
        assert_eq!(status, 201);
        let mine = format!("/orders?after={}", placed["position"]);
        let (_, mine) = send(TestRequest::get().uri(&mine)).await;
        assert_eq!(mine["owed"], json!({ "1": 600 }));
        app.shutdown().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
