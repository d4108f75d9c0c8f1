// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "../src/IFedChestLedger.sol";
import {IInstitutions} from "../src/IInstitutions.sol";
import {Study} from "./Study.sol";
import {vm} from "./Vm.sol";

/// @title The rules, the founders and the first model.
contract FoundingTest is Study {
    function setUp() public override {
        list(standard());
    }

    function attempt(IFedChestLedger.Rules memory rules) external {
        create(rules);
    }

    function approval() private view returns (bytes memory) {
        return abi.encodeCall(ledger.approveInitialModel, (FIRST_MODEL, PROVENANCE, ledger.roster()));
    }

    function test_ruleOfZeroIsRefused() public {
        IFedChestLedger.Rules[5] memory bad;
        for (uint256 i = 0; i < 5; ++i) bad[i] = standard();
        bad[0].submissionSeconds = 0;
        bad[1].attestationSeconds = 0;
        bad[2].minimumAccepted = 0;
        bad[3].founders = 0;
        bad[4].cohortSize = 1;
        for (uint256 i = 0; i < 5; ++i) {
            vm.expectRevert(IFedChestLedger.InvalidRules.selector);
            this.attempt(bad[i]);
        }
    }

    function test_cohortAsLargeAsTheMinimumIsAllowed() public {
        IFedChestLedger.Rules memory rules = standard();
        rules.cohortSize = rules.minimumAccepted;
        vm.expectEmit();
        emit IFedChestLedger.StudyCreated(address(this), rules);
        ledger = create(rules);
        require(keccak256(abi.encode(ledger.rules())) == keccak256(abi.encode(rules)), "rules");
        require(ledger.isAllowed(CONFIG) && !ledger.isAllowed("other"), "allowed");
    }

    function test_founderIsRegistered() public {
        IFedChestLedger.Rules memory rules = standard();
        ledger = create(rules);
        vm.expectEmit(address(ledger));
        emit IInstitutions.InstitutionRegistered(0, wallet(0), 7, BUDGET);
        require(ledger.registerFounder(wallet(0), 7, BUDGET) == 0, "id");
        IInstitutions.Institution memory made = ledger.institution(0);
        require(made.wallet == wallet(0) && made.weightClass == 7 && made.epsilonBudget == BUDGET, "as given");
        require(made.status == IInstitutions.Status.Active && made.epsilonSpent == 0 && made.credits == 0, "fresh");
        require(ledger.institutionCount() == 1 && ledger.activeCount() == 1 && ledger.totalWeight() == 7, "counts");
        require(ledger.roster() == keccak256(abi.encode(bytes32(0), wallet(0), uint16(7), BUDGET)), "roster");
        require(ledger.idOf(wallet(0)) == 0, "wallet");
    }

    function test_founderIsRefused() public {
        ledger = create(standard());
        expectUnauthorized(OUTSIDER, ledger.COORDINATOR());
        vm.prank(OUTSIDER);
        ledger.registerFounder(wallet(0), 1, BUDGET);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.InvalidWallet.selector, address(0)));
        ledger.registerFounder(address(0), 1, BUDGET);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.InvalidWallet.selector, address(this)));
        ledger.registerFounder(address(this), 1, BUDGET);
        vm.expectRevert(IInstitutions.InvalidWeightClass.selector);
        ledger.registerFounder(wallet(0), 0, BUDGET);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.BudgetTooLarge.selector, BUDGET + 1, BUDGET));
        ledger.registerFounder(wallet(0), 1, BUDGET + 1);
        ledger.registerFounder(wallet(0), 1, BUDGET);
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.WalletTaken.selector, wallet(0), 0));
        ledger.registerFounder(wallet(0), 1, BUDGET);
    }

    function test_foundersAreAsManyAsTheRulesName() public {
        vm.expectRevert(IInstitutions.AlreadyFounded.selector);
        ledger.registerFounder(wallet(4), 1, BUDGET);
    }

    function test_weightsThatDoNotAddUpExactlyAreRefused() public {
        IFedChestLedger.Rules memory rules = standard();
        rules.founders = 9000;
        ledger = create(rules);
        uint32 most = 1 << 29;
        for (uint16 id = 0; id < most / type(uint16).max; ++id) {
            ledger.registerFounder(address(uint160(id) + 0x1000), type(uint16).max, BUDGET);
        }
        uint16 left = uint16(most - ledger.totalWeight());
        vm.expectRevert(abi.encodeWithSelector(IInstitutions.TooHeavy.selector, most + 1, most));
        ledger.registerFounder(wallet(0), left + 1, BUDGET);
        ledger.registerFounder(wallet(0), left, BUDGET);
        require(ledger.totalWeight() == most, "all of it");
    }

    function test_nothingElseIsDecidedBeforeTheFirstModel() public {
        vm.prank(wallet(0));
        vm.expectRevert(IInstitutions.NotFounded.selector);
        ledger.support(abi.encodeCall(ledger.pause, ()));
        vm.expectRevert(IInstitutions.NotFounded.selector);
        ledger.openRound(CONFIG);
    }

    function test_nobodyApprovesBeforeAllAreListed() public {
        ledger = create(standard());
        ledger.registerFounder(wallet(0), 1, BUDGET);
        bytes memory action = approval();
        vm.prank(wallet(0));
        vm.expectRevert(IInstitutions.NotFounded.selector);
        ledger.support(action);
    }

    function test_firstModelNeedsTheQuorum() public {
        bytes memory action = approval();
        support(0, action);
        support(1, action);
        require(ledger.initialModel() == 0, "too early");
        bytes32 roster = ledger.roster();
        vm.expectEmit(address(ledger));
        emit IFedChestLedger.InitialModelApproved(FIRST_MODEL, PROVENANCE, roster);
        support(2, action);
        require(ledger.initialModel() == FIRST_MODEL && ledger.globalModel() == FIRST_MODEL, "the first model");
        vm.expectRevert(IInstitutions.AlreadyFounded.selector);
        ledger.registerFounder(wallet(4), 1, BUDGET);
    }

    function test_nobodyIsListedAfterTheFounding() public {
        decide(approval());
        decide(abi.encodeCall(ledger.registerInstitution, (wallet(4), 1, BUDGET)));
        vm.expectRevert(IInstitutions.AlreadyFounded.selector);
        ledger.registerFounder(wallet(5), 1, BUDGET);
    }

    function test_approvalOfNoModelOrAnotherRosterOrASecondOneIsRefused() public {
        refuseAtQuorum(
            abi.encodeCall(ledger.approveInitialModel, (0, PROVENANCE, ledger.roster())),
            abi.encodeWithSelector(IFedChestLedger.EmptyModel.selector)
        );
        refuseAtQuorum(
            abi.encodeCall(ledger.approveInitialModel, (FIRST_MODEL, PROVENANCE, "other")),
            abi.encodeWithSelector(IFedChestLedger.WrongRoster.selector, ledger.roster())
        );
        decide(approval());
        refuseAtQuorum(
            abi.encodeCall(ledger.approveInitialModel, ("second", PROVENANCE, ledger.roster())),
            abi.encodeWithSelector(IInstitutions.AlreadyFounded.selector)
        );
    }
}
