"""The leader kit declared beside models, and in migrations."""

from __future__ import annotations

import pytest
from sqlalchemy import ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from leader_app import short
from signalroom.errors import ConfigError
from signalroom.projections.leader import Leader
from signalroom.projections.sqlalchemy import entity, touch, watch

pytestmark = pytest.mark.slow


@pytest.fixture
def models():
    class Base(DeclarativeBase):
        pass

    class Page(Base):
        __tablename__ = "pages"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    class Donation(Base):
        __tablename__ = "donations"
        id: Mapped[int] = mapped_column(primary_key=True)
        page_id: Mapped[int] = mapped_column(ForeignKey(Page.id))
        amount: Mapped[int]

    query = "select id, name, 10 % 3 as odd, (select sum(amount) from donations d where d.page_id = p.id) as total from pages p"
    entity(Base.metadata, "page", key="id", query=query)
    watch(Page, "page", id="id")
    return Base, Page, Donation


@pytest.fixture
def engine_of():
    made = []

    def create(url):
        made.append(create_engine(url))
        return made[-1]

    yield create
    for engine in made:
        engine.dispose()


def test_models_declare_what_is_kept(postgres, models, engine_of):
    base, page, donation = models
    url = postgres()
    watch(donation, "page", sql="select page_id from changed where 7 % 2 = 1")
    engine = engine_of(url.replace("postgresql:", "postgresql+psycopg:"))
    base.metadata.create_all(engine)
    base.metadata.create_all(engine)
    with Leader(url) as leader, Session(engine) as session:
        session.add(page(id=1, name="Ada"))
        session.flush()
        session.add(donation(id=1, page_id=1, amount=500))
        session.commit()
        assert short(leader.drain()) == [("page", "1", 1)]
        session.get(donation, 1).amount = 700
        session.commit()
        assert short(leader.drain()) == [("page", "1", 2)]
        assert leader.connection.execute("select odd, total from reporting_page").fetchall() == [(1, 700)]
        touch(session, "page", 1)
        session.rollback()
        assert leader.status().intentions.pending == 0
        touch(session, "page", 1)
        session.commit()
        assert leader.status().intentions.pending == 1
        assert leader.drain() == []


def test_a_migration_runs_what_is_returned(postgres, models, engine_of):
    base, _, donation = models
    url = postgres()
    engine = engine_of(url.replace("postgresql:", "postgresql+psycopg:"))
    base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(watch(donation, "page", id="page_id"))
    with Leader(url) as leader:
        assert leader.status().missing_triggers == ()
        watched = "select relation from reporting_watches order by 1"
        assert leader.connection.execute(watched).fetchall() == [("public.donations",), ("public.pages",)]


def test_other_databases_are_left_alone_and_wrong_names_refused(models, engine_of):
    base, page, _ = models
    engine = engine_of("sqlite://")
    base.metadata.create_all(engine)
    with pytest.raises(ConfigError, match="needs either id or sql"):
        watch(page, "page")
    with pytest.raises(ConfigError, match="'state' cannot be the name"):
        entity(base.metadata, "state", key="id", query="select 1 as id")
